"""Candidates by learned scores (Group-Free's KPS, Liu et al. 2021, section 3.2): the seeds nearest to middles."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.points.mlp import PointMlp
from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.sampling import gather


class Chosen(NamedTuple):
    """Seeds that become candidates."""

    logits: Tensor
    """(B, S) of all seeds, to be chosen"""
    numbers: Tensor
    """(B, K) of the chosen, best first"""
    candidates: Cloud


class KeyPoints(nn.Module):
    """Seeds (B, S, D) -> the `count` that score highest, fewer where there are fewer."""

    def __init__(self, dim: int, count: int):
        super().__init__()
        self.count, self.mlp, self.out = count, PointMlp((dim, dim, dim), bias=True), nn.Linear(dim, 1)

    def forward(self, seeds: Cloud) -> Chosen:
        logits = self.out(self.mlp(seeds.x, seeds.mask))[..., 0]
        order = logits.detach().masked_fill(~seeds.mask, -torch.inf)
        numbers = order.topk(min(self.count, order.shape[1]), 1).indices
        return Chosen(logits, numbers, Cloud(*(gather(part, numbers) for part in seeds)))
