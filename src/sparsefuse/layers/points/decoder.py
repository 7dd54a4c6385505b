"""The decoder of Group-Free (Liu et al. 2021, section 3.3): candidates attend to one another, then to the seeds."""

import torch
from torch import Tensor, nn

from sparsefuse.layers.block import Attention, CrossAttention
from sparsefuse.layers.points.heads import BoxHead
from sparsefuse.layers.points.mlp import PointMlp
from sparsefuse.layers.points.state import SceneState


class Place(nn.Module):
    """Where something is, as a token: (B, N, n) numbers -> (B, N, D)."""

    def __init__(self, num_numbers: int, dim: int):
        super().__init__()
        self.mlp, self.out = PointMlp((num_numbers, dim), bias=True), nn.Linear(dim, dim)

    def forward(self, numbers: Tensor, mask: Tensor) -> Tensor:
        return self.out(self.mlp(numbers, mask))


class Decode(nn.Module):
    """A layer, post-norm, and the head that predicts after it. Places of candidates are the boxes predicted before,
    of which nothing flows back; places are added to values too, as released."""

    def __init__(self, dim: int, num_heads: int, hidden: int, drop: float, head: BoxHead):
        super().__init__()
        self.own, self.seeds = Place(6, dim), Place(3, dim)
        self.attention, self.cross = Attention(dim, num_heads), CrossAttention(dim, num_heads)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(drop), nn.Linear(hidden, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.drop, self.head = nn.Dropout(drop), head
        for linear in (self.mlp[0], self.mlp[3]):
            nn.init.xavier_uniform_(linear.weight)  # pyright: ignore[reportArgumentType]

    def forward(self, state: SceneState) -> SceneState:
        before, candidates, seeds = state.predictions[-1], state.candidates, state.seeds
        first, second, third = self.norms
        box = torch.cat([before.centre, before.size()], -1).detach()
        place = self.own(box, candidates.mask)
        keys = state.keys + self.seeds(seeds.xyz, seeds.mask)
        x = candidates.x
        x = first(x + self.drop(self.attention(x + place, candidates.mask).x))
        x = second(x + self.drop(self.cross(x + place, keys, seeds.mask)))
        x = third(x + self.drop(self.mlp(x)))
        candidates = candidates._replace(x=x)
        return state._replace(candidates=candidates, predictions=(*state.predictions, self.head(candidates)))
