"""Attention over groups of keys: one softmax over all groups.

Between the passes only queries, keys and values are held: the way back makes the scores again. On a processor both are
written out, and scores are powers of two (`powers`), whose sums simply add over groups. Samples, or heads of a long
one, run a few at a time, so that their scores stay in the cache where they can. Gradients of gradients, and torch.func,
are not known there. Elsewhere, and for a mask that learns, autograd goes over it again; torch.compile decides itself.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from sparsefuse.layers.ops.torch.groups import Group
from sparsefuse.layers.ops.tracing import eager
from sparsefuse.layers.powers import CACHED, divide, flowing, relative, small, weighed


def attend(groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Queries (B, H, D/H, N) over keys and values (B, H, D/H, 1 + N), mask (B, 1 + N) -> (B, H, D/H, N)."""
    if eager(q) and not mask.requires_grad and all(group.of_tokens for group in groups) and small(q, k, dim=2):
        return _Attend.apply(groups, q, k, v, relative(mask, q.dtype))  # pyright: ignore[reportReturnType]
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return checkpoint(_forward, groups, q, k, v, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportReturnType]
    return _forward(groups, q, k, v)


def received(groups: Sequence[Group], q: Tensor, k: Tensor, asked_by: Tensor) -> Tensor:
    """The attention each key gets, (B, 1 + N), summed over heads and over queries weighted by `asked_by` (B, N)."""
    heads = q.shape[1]
    weights = _weights(groups, _arranged(groups, q, k), heads)
    parts = []
    for group, share in zip(groups, _by_group(groups, weights), strict=True):
        asking = group.cut(asked_by[:, None, None].expand(-1, heads, -1, -1))  # (n, 1, L)
        parts.append(group.spread(asking @ share, heads).sum((1, 2)))
    return _sum(parts)


class _Attend(torch.autograd.Function):
    """Queries, keys, values and weights (B, 1 + N), relative to a sample's largest, as `powers` has them."""

    @staticmethod
    def forward(ctx: Any, groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor, weights: Tensor) -> Tensor:
        x = v.new_empty(q.shape[0], q.shape[3], *v.shape[1:3]).permute(0, 2, 3, 1)  # in memory (B, N, H, D/H)
        share, values = torch.empty_like(q[:, :, :1]), weighed(v, _by_head(weights, v), 2)
        for where in _parts(groups, q):
            queries, keys, read = (t[where] for t in (q, k, values))
            sums = [g.join(g.values(read) @ g.powers(queries, keys).mT, queries.shape[1]) for g in groups]
            divide(_sum(sums), 2, out=x[where], share=share[where])
        ctx.groups = groups
        ctx.save_for_backward(q, k, v, weights, x, share)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, weights, x, share = ctx.saved_tensors
        toward, values = flowing(grads[0], x, share, 2), weighed(v, _by_head(weights, v), 2)
        dq, dk, dv = (torch.empty_like(t) for t in (q, k, v))
        for where in _parts(ctx.groups, q):
            found, heads = [], q[where].shape[1]
            for group in ctx.groups:
                powers = group.powers(q[where], k[where])
                going = group.cut(toward[where])
                slopes = (going.mT @ group.values(values[where])).mul_(powers)
                back = (
                    group.join(group.gather(k[where]) @ slopes.mT, heads),
                    group.spread(group.cut(q[where]) @ slopes, heads),
                    group.spread(group.seen(going[:, :-1] @ powers), heads),
                )
                found.append(back)
            dq[where], dk[where], dv[where] = (_sum(list(parts)) for parts in zip(*found, strict=True))
        slope = q.shape[2] ** -0.5
        return None, dq.mul_(slope), dk.mul_(slope), dv.mul_(weights[:, None, None]), None


def _by_head(weights: Tensor, like: Tensor) -> Tensor:
    """(B, 1 + N) -> (B, H, 1 + N), a view."""
    return weights[:, None].expand(-1, like.shape[1], -1)


class _Arranged(NamedTuple):
    """Queries (n, D/H, L), scaled, and keys (n, D/H, S) of a group."""

    q: Tensor
    k: Tensor


def _parts(groups: Sequence[Group], q: Tensor) -> Iterator[tuple[slice, slice]]:
    """A few samples at a time, or a few heads of one."""
    batch, heads, _, length = q.shape
    scores = length * sum(group.size for group in groups)  # of a head
    room = CACHED * torch.get_num_threads()
    some, few = max(room // (heads * scores), 1), min(max(room // scores, 1), heads)
    for sample in range(0, batch, some):
        for head in range(0, heads, few):
            yield slice(sample, sample + some), slice(head, head + few)


def _forward(groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    heads = q.shape[1]
    shares = _by_group(groups, _weights(groups, _arranged(groups, q, k), heads))
    return _sum([g.join(g.gather(v) @ share.transpose(1, 2), heads) for g, share in zip(groups, shares, strict=True)])


def _arranged(groups: Sequence[Group], q: Tensor, k: Tensor) -> list[_Arranged]:
    q = q * q.shape[2] ** -0.5
    return [_Arranged(group.cut(q), group.gather(k)) for group in groups]


def _weights(groups: Sequence[Group], arranged: Sequence[_Arranged], heads: int) -> Tensor:
    """One softmax over the keys of all groups (B, H, G, l, sum of S)."""
    scores = []
    for group, (q, k) in zip(groups, arranged, strict=True):
        bias = group.bias(heads)
        bias = (bias if group.unseen is None else bias + group.unseen).to(q.dtype)
        scores.append(group.by_block(torch.baddbmm(bias, q.transpose(1, 2), k), heads))
    return _joined(scores).softmax(-1)


def _by_group(groups: Sequence[Group], weights: Tensor) -> list[Tensor]:
    """(B, H, G, l, sum of S) -> per group (n, L, S)."""
    parts = weights.split([group.size for group in groups], -1)
    return [group.by_group(part) for group, part in zip(groups, parts, strict=True)]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _sum(parts: list[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)
