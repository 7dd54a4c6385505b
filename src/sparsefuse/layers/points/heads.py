"""What a detector says of its candidates: whether there is an object, where, how large, which way, of which class."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsefuse.layers.points.mlp import PointMlp
from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.state import BoxPredictions

NUM_BINS = 12


class BoxHead(nn.Module):
    """Candidates (B, K, D) -> `BoxPredictions`, with centres as far from them as predicted.

    `mean_sizes` (S, 3): usual sizes, of which one is chosen and stretched; none: the size is predicted by itself.
    """

    def __init__(self, dim: int, num_classes: int, mean_sizes: Sequence[Sequence[float]] | None = None):
        super().__init__()
        means = torch.tensor(mean_sizes or [], dtype=torch.float32).view(-1, 3)
        self.register_buffer("means", means)
        self.means: Tensor
        self.widths = [1, 3, NUM_BINS, NUM_BINS, len(means), 3 * max(len(means), 1), num_classes]
        self.mlp = PointMlp((dim, dim, dim), bias=True)
        self.out = nn.Linear(dim, sum(self.widths))

    def forward(self, candidates: Cloud) -> BoxPredictions:
        found = self.out(self.mlp(candidates.x, candidates.mask)).split(self.widths, -1)
        objectness, shift, bins, turns, clusters, sizes, labels = found
        sizes = sizes.unflatten(-1, (-1, 3))  # (B, K, S, 3)
        if len(self.means):
            sizes = (1 + sizes) * self.means
        return BoxPredictions(objectness[..., 0], candidates.xyz + shift, bins, turns, clusters, sizes, labels)


def yaw_of(predictions: BoxPredictions) -> Tensor:
    """(B, K) the direction by the likeliest bin."""
    best = predictions.bins.argmax(2)
    turn = predictions.turns.gather(2, best[..., None])[..., 0]
    return (best + turn / 2) * (2 * math.pi / NUM_BINS)


def binned(yaw: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (...) -> their bin (...), long, and how far from its middle, in halves of a bin."""
    place = yaw / (2 * math.pi / NUM_BINS)
    nearest = place.round()
    return nearest.long() % NUM_BINS, 2 * (place - nearest)
