"""How far made pictures are from real ones as a network sees them: pictures in, batch by batch; scores out."""

import logging

import numpy as np
import torch
from torch import Tensor

from sparsefuse.features._seen import NET, Seen, how_to_get
from sparsefuse.metrics.distances import frechet_distance, kernel_distance
from sparsefuse.runs.records import Scores

log = logging.getLogger(__name__)


class Distances:
    """Keeps what the network sees in the pictures of one split."""

    def __init__(self, seen: Seen):
        self.seen = seen
        self.made: list[Tensor] = []
        self.real: list[Tensor] = []

    def add(self, made: Tensor, target: Tensor, mask: Tensor) -> None:
        """Pictures (B, H, W, 1 or 3) from -1 to 1. What is not compared, by the mask (B, H, W), is grey in both; rows
        and columns beyond it are cut off, and a picture without any of it is left out."""
        there = [i for i, known in enumerate(mask) if known.any()]
        if there:
            self.made.append(self.seen([_shown(made[i], mask[i]) for i in there]))
            self.real.append(self.seen([_shown(target[i], mask[i]) for i in there]))

    def scores(self) -> Scores:
        """`kernel_<net>` and `frechet_<net>`, and the same of two halves of the real pictures as `halves_kernel_<net>`
        and `halves_frechet_<net>`: what no difference looks like. None of fewer than four pictures."""
        if sum(map(len, self.real)) < 4:
            return {}
        made, real = torch.cat(self.made), torch.cat(self.real)
        halves = real[0::2], real[1::2]
        return {
            f"kernel_{NET}": kernel_distance(made, real),
            f"frechet_{NET}": frechet_distance(made, real),
            f"halves_kernel_{NET}": kernel_distance(*halves),
            f"halves_frechet_{NET}": frechet_distance(*halves),
        }


def distances_of(channels: int, device: torch.device) -> Distances | None:
    """Nothing yet; None, and a line in the log, without the network's package or for pictures that are not of 1 or 3
    channels."""
    if channels not in (1, 3):
        log.info("no kernel or Frechet distance: pictures have %d channels, and %s sees 1 or 3", channels, NET)
        return None
    try:
        return Distances(Seen(device))
    except ImportError:
        log.info("no kernel or Frechet distance, which are of features of %s; to have them: %s", NET, how_to_get())
        return None


def _shown(picture: Tensor, known: Tensor) -> np.ndarray:
    """(H, W, C) from -1 to 1 -> (H', W', 3) of 0 to 255, as a PNG has it."""
    rows, columns = (int(line.nonzero().max()) + 1 for line in (known.any(1), known.any(0)))
    whole = picture.float().masked_fill(~known[..., None], 0)[:rows, :columns].clamp(-1, 1)
    return ((whole + 1) * 127.5).round().to(torch.uint8).expand(-1, -1, 3).cpu().numpy()
