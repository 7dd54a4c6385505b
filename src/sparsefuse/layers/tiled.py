"""Dense attention by tiles, for narrow heads on a processor.

Like FlashAttention (Dao et al. 2022): scores exist a tile at a time, and the way back makes them again. PyTorch's
kernel for processors does so too, but multiplies with rows a head wide; here tokens lie last and all rows are long, and
scores are powers of two (`powers`). With heads 16 wide it takes more time than PyTorch's. Gradients of gradients, of
weights, and torch.func, are not known.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsefuse.layers.powers import divide, flowing, powers, weighed

TILE = 2**20
"""Scores of all buffers of a tile, per thread. Fewer leave the threads waiting for each other, more leave the cache."""
ROWS = 256
"""Queries of a tile, at most."""


def tiled(q: Tensor, k: Tensor, v: Tensor, weights: Tensor) -> Tensor:
    """Queries (B, H, N, D/H) over keys and values (B, H, N', D/H) of weights (B, N') -> (B, H, N, D/H).

    Scores are small and weights relative, as `powers` has them.
    """
    batch, heads = q.shape[:2]
    x = _Tiled.apply(*(t.permute(1, 0, 3, 2).flatten(0, 1) for t in (q, k, v)), weights.repeat(heads, 1))
    return x.mT.unflatten(0, (heads, batch)).transpose(0, 1)  # pyright: ignore[reportAttributeAccessIssue]


def by_head(x: Tensor) -> Tensor:
    """(B, H, N, D/H) -> (H B, N, D/H): a view, if that is how tokens lie (`block.Attention`)."""
    return x.transpose(0, 1).flatten(0, 1)


class _Tiled(torch.autograd.Function):
    """Queries (n, C, N), keys and values (n, C, N'), weights (n, N') -> (n, C, N)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, weights: Tensor) -> Tensor:
        x, share, values = torch.empty_like(q), torch.empty_like(q[:, :1]), weighed(v, weights, 1)
        for tile in _tiles(q, k, buffers=1):
            found = powers(tile.q, tile.k, out=tile.buffers[0])
            at = tile.heads, slice(None), tile.rows
            divide(values[tile.heads] @ found.mT, 1, out=x[at], share=share[at])
        ctx.save_for_backward(q, k, v, weights, x, share)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, weights, x, share = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), k.new_zeros(k.shape), v.new_zeros(v.shape)
        toward, values = flowing(grads[0], x, share, 1), weighed(v, weights, 1)
        for tile in _tiles(q, k, buffers=2):
            heads, rows = tile.heads, tile.rows
            found = powers(tile.q, tile.k, out=tile.buffers[0])
            going = toward[heads, :, rows]
            slopes = torch.bmm(going.mT, values[heads], out=tile.buffers[1]).mul_(found)
            dq[heads, :, rows] = k[heads] @ slopes.mT
            dk[heads].baddbmm_(q[heads, :, rows], slopes)
            dv[heads].baddbmm_(going[:, :-1], found)
        slope = q.shape[1] ** -0.5
        return dq.mul_(slope), dk.mul_(slope), dv.mul_(weights[:, None]), None


class _Tile(NamedTuple):
    """Some heads' scores of some queries."""

    heads: slice
    rows: slice
    q: Tensor
    """(heads, C, queries)"""
    k: Tensor
    """(heads, C, N')"""
    buffers: list[Tensor]
    """each (heads, queries, N'); the next tile takes the same: new memory costs more than the products"""


def _tiles(q: Tensor, k: Tensor, *, buffers: int) -> Iterator[_Tile]:
    """All heads and queries, tile by tile."""
    scores = TILE * torch.get_num_threads() // buffers
    rows = min(max(scores // k.shape[2], 1), ROWS, q.shape[2])
    heads = max(min(scores // (k.shape[2] * rows), q.shape[0]), 1)
    space = q.new_empty(buffers, heads * rows * k.shape[2])
    for head in range(0, q.shape[0], heads):
        for row in range(0, q.shape[2], rows):
            some, which = slice(head, head + heads), slice(row, row + rows)
            part, keys = q[some, :, which], k[some]
            shape = (keys.shape[0], part.shape[2], keys.shape[2])
            yield _Tile(some, which, part, keys, [buffer[: math.prod(shape)].view(shape) for buffer in space])
