"""Farthest-point sampling (Qi et al. 2017): a cloud in, its points in an order of which every beginning covers it."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.ops.tracing import exporting


class Sample(NamedTuple):
    """Points that were chosen."""

    numbers: Tensor
    """(B, K) long, in the cloud"""
    mask: Tensor
    """(B, K) bool; False where a cloud has less than K points"""

    def first(self, count: int) -> "Sample":
        """The sample of `count` points: each is chosen for those before it, whatever is chosen after."""
        return Sample(self.numbers[:, :count], self.mask[:, :count])


@torch.no_grad()
def farthest_points(xyz: Tensor, mask: Tensor, count: int) -> Sample:
    """`count` of the points xyz (B, N, 3) that are real by mask (B, N): the first, then always the one that is farthest
    from those that were chosen; of equals the first."""
    real = torch.arange(count, device=xyz.device) < mask.sum(1, keepdim=True)
    if exporting():
        return Sample(_scanned(xyz, mask, count), real)
    scenes = torch.arange(len(xyz), device=xyz.device)
    axes = torch.where(mask[..., None], xyz, 0.0).transpose(1, 2).contiguous()  # (B, 3, N)
    apart = torch.where(mask, xyz.new_tensor(torch.inf), xyz.new_tensor(-1.0))  # squares; -1: never chosen again
    numbers = torch.zeros(len(xyz), count, dtype=torch.long, device=xyz.device)
    away, square = torch.empty_like(apart), torch.empty_like(apart)
    for k in range(count):
        farthest = apart.argmax(1)
        numbers[:, k] = farthest
        here = axes[scenes, :, farthest]  # (B, 3)
        for axis in range(3):
            torch.sub(axes[:, axis], here[:, axis, None], out=away)
            torch.mul(away, away, out=square) if axis == 0 else square.addcmul_(away, away)
        torch.minimum(apart, square, out=apart)
        apart[scenes, farthest] = -1
    return Sample(numbers, real)


def _scanned(xyz: Tensor, mask: Tensor, count: int) -> Tensor:
    """The same numbers (B, K) as one loop of a graph, which a traced one in Python would unroll."""
    from torch._higher_order_ops.scan import scan

    axes = torch.where(mask[..., None], xyz, 0.0)
    places = torch.arange(xyz.shape[1], device=xyz.device)

    def step(apart: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        farthest = apart.argmax(1)  # (B)
        away = axes - axes.gather(1, farthest[:, None, None].expand(-1, 1, 3))
        square = away * away
        nearer = torch.minimum(apart, square[..., 0] + square[..., 1] + square[..., 2])
        return torch.where(places == farthest[:, None], -1.0, nearer), farthest.clone()

    begin = torch.where(mask, torch.inf, -1.0).to(xyz.dtype)
    return scan(step, begin, torch.zeros(count, device=xyz.device))[1].transpose(0, 1)


def gather(values: Tensor, numbers: Tensor) -> Tensor:
    """The rows of values (B, N, ...) with numbers (B, ...) -> (B, ..., ...)."""
    scenes = torch.arange(len(values), device=values.device)
    return values[scenes.view(-1, *[1] * (numbers.ndim - 1)), numbers]
