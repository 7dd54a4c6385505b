"""PointNet++ as detectors have it: a cloud to seeds, points of it that know what is around them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.sampling import farthest_points
from sparsefuse.layers.points.set_abstraction import Propagation, SetAbstraction


class Level(NamedTuple):
    """A layer of set abstraction."""

    points: int
    radius: float
    """metres"""
    most: int
    """neighbours of a point"""
    widths: tuple[int, ...]


PUBLISHED = (
    Level(2048, 0.2, 64, (64, 64, 128)),
    Level(1024, 0.4, 32, (128, 128, 256)),
    Level(512, 0.8, 16, (128, 128, 256)),
    Level(256, 1.2, 16, (128, 128, 256)),
)
"""as VoteNet has them (Qi et al. 2019), and Group-Free (Liu et al. 2021) after it"""


class Seeds(NamedTuple):
    """Points of a cloud."""

    cloud: Cloud
    numbers: Tensor
    """(B, K) long, in the cloud"""


class PointNet2(nn.Module):
    """Set abstraction level by level, then back to the points of the second: those are the seeds, `dim` wide."""

    def __init__(self, num_channels: int, dim: int = 288, levels: tuple[Level, ...] = PUBLISHED):
        super().__init__()
        self.levels, self.down, self.up = levels, nn.ModuleList(), nn.ModuleList()
        width = num_channels
        for level in levels:
            self.down.append(SetAbstraction(width, level.widths, radius=level.radius, most=level.most))
            width = level.widths[-1]
        for level in reversed(levels[1:-1]):
            joined, hidden = width + level.widths[-1], level.widths[-1]
            width = dim if level is levels[1] else hidden
            self.up.append(Propagation(joined, (hidden, width)))

    def forward(self, cloud: Cloud) -> Seeds:
        cloud = cloud.zeroed()
        order = farthest_points(cloud.xyz, cloud.mask, self.levels[0].points)
        steps = [cloud]
        for level, layer in zip(self.levels, self.down, strict=True):
            # the points of a level are in that order, so the next has the first of them
            first = order.first(level.points)
            place = first if len(steps) == 1 else first._replace(numbers=_counted(first.numbers))
            steps.append(layer(steps[-1], place))
        few = steps.pop()
        for layer in self.up:
            few = layer(steps.pop(), few)
        return Seeds(few, order.first(self.levels[1].points).numbers)


def _counted(numbers: Tensor) -> Tensor:
    """0, 1, ... of the shape of numbers (B, K)."""
    return torch.ones_like(numbers).cumsum(1) - 1
