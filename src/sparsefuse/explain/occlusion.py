"""Occlusion: how a model's score changes when a modality, or a window of it, is masked out.

Unlike rollout it measures the model's output (Zeiler & Fergus 2014, with masks in place of grey squares).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens

NUM_RANDOM = 12
"""Maskings at random per modality, to tell what chance alone changes."""


class Occlusion(NamedTuple):
    """The model's score of its answer, with nothing masked and with parts of the clip masked out."""

    whole: float
    """with nothing masked"""
    without: dict[str, float]
    """per modality, with all of it masked; nan where nothing would be left"""
    windows: dict[str, Tensor]
    """(W,) per modality, with a window of it masked, in order of time; nan where nothing would be left"""
    noise: dict[str, float]
    """per modality, two standard deviations of the score with as many tokens as a window has masked at random"""

    def drop(self, modality: str) -> float:
        """How much the score falls without the modality."""
        return self.whole - self.without[modality]

    def drops(self, modality: str) -> Tensor:
        """(W,) how much the score falls without each window; below 0 where it rises."""
        return self.whole - self.windows[modality]


def window_of(length: int, count: int) -> Tensor:
    """(N,) the window of each token: `count` windows of equal length, or one per token if there are fewer."""
    count = min(length, count)
    return torch.arange(length) * count // length


@torch.no_grad()
def occlusion(
    model: FusionModel, tokens: dict[str, Tokens], score: Callable[[Tensor], Tensor], *, num_windows: int = 12
) -> Occlusion:
    """Masks each modality of one clip (B = 1), and each of its windows; all at once, as one batch.

    `score`: logits (R, C) -> (R,), such as the probability of the class that the whole clip gets.
    """
    if num_windows < 1:
        raise ValueError(f"num_windows is {num_windows}, expected 1 or more")
    there = {name: t.mask[0] for name, t in tokens.items() if name in model.modalities and t.mask.any()}
    masks = [dict(there)]
    windows: dict[str, list[Tensor]] = {}
    generator = torch.Generator().manual_seed(0)
    for name, mask in there.items():
        masks.append({**there, name: torch.zeros_like(mask)})
        index = torch.full(mask.shape, -1, device=mask.device)
        index[mask] = window_of(int(mask.sum()), num_windows).to(mask.device)
        windows[name] = [mask & (index != window) for window in range(int(index.max()) + 1)]
        masks += [{**there, name: kept} for kept in windows[name]]
        masks += [{**there, name: _at_random(mask, num_windows, generator)} for _ in range(NUM_RANDOM)]
    batch = {
        name: Tokens(tokens[name].x.expand(len(masks), -1, -1), torch.stack([row[name] for row in masks]))
        for name in there
    }
    logits: Tensor = model.head(model.encode(batch))  # not `forward`, which refuses a clip of which nothing is left
    scores = score(logits.float()).cpu()
    left = torch.stack([mask.any(1) for _, mask in batch.values()]).any(0).cpu()
    rows = iter(scores.masked_fill(~left, float("nan")).tolist())
    unmasked = next(rows)
    without, parts, noise = {}, {}, {}
    for name in there:
        without[name] = next(rows)
        parts[name] = torch.tensor([next(rows) for _ in windows[name]])
        random = torch.tensor([next(rows) for _ in range(NUM_RANDOM)])
        noise[name] = 2 * float(random.std().nan_to_num(0))
    return Occlusion(unmasked, without, parts, noise)


def _at_random(mask: Tensor, num_windows: int, generator: torch.Generator) -> Tensor:
    """The mask without as many of its tokens as a window has, drawn from all of the clip."""
    tokens = mask.nonzero().flatten()
    size = -(-len(tokens) // min(len(tokens), num_windows))
    kept = mask.clone()
    kept[tokens[torch.randperm(len(tokens), generator=generator)[:size].to(mask.device)]] = False
    return kept
