"""Neighbours in space: the points in a ball around each centre, and values between the nearest points."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.ops.tracing import exporting
from sparsefuse.layers.points.sampling import gather

AT_A_TIME = 1 << 23
"""distances that are held at a time"""


class Balls(NamedTuple):
    """The points around centres."""

    numbers: Tensor
    """(B, K, S) long, in the cloud, ascending"""
    mask: Tensor
    """(B, K, S) bool; False where a ball holds less than S points"""


@torch.no_grad()
def ball_query(xyz: Tensor, mask: Tensor, centres: Tensor, centre_mask: Tensor, radius: float, most: int) -> Balls:
    """The first `most` real points xyz (B, N, 3) nearer than `radius` to each real centre (B, K, 3)."""
    if exporting():
        return _dense(xyz, mask, centres, centre_mask, radius, most)
    scenes, count = centres.shape[:2]
    numbers = torch.zeros(scenes, count, most, dtype=torch.long, device=xyz.device)
    held = torch.zeros(scenes, count, most, dtype=torch.bool, device=xyz.device)
    step = max(AT_A_TIME // max(xyz.shape[1], 1), 1)
    for scene in range(scenes):
        for start in range(0, count, step):
            some = centres[scene, start : start + step]
            near = squares_apart(some, xyz[scene]) < radius**2
            near &= mask[scene] & centre_mask[scene, start : start + step, None]
            centre, point = near.nonzero(as_tuple=True)  # by centre, then by point
            begin = near.sum(1).cumsum(0)
            rank = torch.arange(len(centre), device=xyz.device)
            rank = rank - torch.cat([begin.new_zeros(1), begin])[centre]
            kept = rank < most
            numbers[scene, start + centre[kept], rank[kept]] = point[kept]
            held[scene, start + centre[kept], rank[kept]] = True
    return Balls(numbers, held)


def _dense(xyz: Tensor, mask: Tensor, centres: Tensor, centre_mask: Tensor, radius: float, most: int) -> Balls:
    """The same without a step that depends on values, all distances at once."""
    near = (squares_apart(centres, xyz) < radius**2) & mask[:, None] & centre_mask[..., None]  # (B, K, N)
    later = torch.arange(xyz.shape[1], 0, -1, dtype=torch.int32, device=xyz.device)  # the first is the largest
    ranks = torch.where(near, later, 0).topk(min(most, xyz.shape[1]), dim=2).values
    return Balls(torch.where(ranks > 0, xyz.shape[1] - ranks, 0).long(), ranks > 0)


def interpolate(values: Tensor, known: Tensor, known_mask: Tensor, xyz: Tensor) -> Tensor:
    """Values (B, K, D) of real points `known` (B, K, 3) at other points (B, N, 3): means of the three nearest, weighted
    by the inverse of how far they are. 0 where a scene has no point that is known."""
    apart = squares_apart(xyz, known).masked_fill(~known_mask[:, None], torch.inf)
    near, numbers = apart.topk(min(3, known.shape[1]), dim=2, largest=False)  # (B, N, 3)
    weight = 1 / near.clamp_min(1e-16).sqrt()  # 0 of what is infinitely far; exporters drop a sum with 1e-8
    weight = weight / weight.sum(2, keepdim=True).clamp_min(1e-8)
    return (gather(values, numbers) * weight[..., None]).sum(2)


def squares_apart(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of a (..., K, 3) and b (..., N, 3) -> (..., K, N); by differences, so that it does not matter
    how far from 0 they are."""
    total = (a[..., :, None, 0] - b[..., None, :, 0]).square()
    for axis in (1, 2):
        away = a[..., :, None, axis] - b[..., None, :, axis]
        total = total.addcmul(away, away)
    return total
