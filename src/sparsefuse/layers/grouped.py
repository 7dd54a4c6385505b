"""Attention over groups of keys: one softmax over all groups, forward and backward written out.

Between the passes only queries, keys and values are held: the way back makes the scores again (torch.compile, or a mask
that learns, leaves it to autograd). Samples, or heads of a long one, run a few at a time, so that their scores stay in
the processor's cache where they can. Gradients of gradients, and torch.func, are not known.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsefuse.layers.groups import Group

CACHED = 2**18
"""Scores that go at once, per thread. Fewer leave the threads waiting for each other, more leave the cache."""


def attend(groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries (B, H, D/H, N) over keys and values (B, H, D/H, 1 + N) -> (B, H, D/H, N)."""
    if torch.compiler.is_compiling() or any(group.logs.requires_grad for group in groups):
        return _forward(groups, q, k, v)
    return _Attend.apply(groups, q, k, v)  # pyright: ignore[reportReturnType]


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
    @staticmethod
    def forward(ctx: Any, groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.groups = groups
        ctx.save_for_backward(q, k, v)
        x = v.new_empty(q.shape[0], q.shape[3], *v.shape[1:3]).permute(0, 2, 3, 1)  # in memory (B, N, H, D/H)
        for where, part in _parts(groups, q):
            x[where] = _forward(part, *(t[where] for t in (q, k, v)))
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,), (q, k, v) = grads, ctx.saved_tensors
        dq, dk, dv = (torch.empty_like(t) for t in (q, k, v))
        for where, part in _parts(ctx.groups, q):
            found = _gradients(part, *(t[where] for t in (q, k, v, grad)))
            dq[where], dk[where], dv[where] = found
        return None, dq, dk, dv


class _Arranged(NamedTuple):
    """Queries (n, D/H, L), scaled, and keys (n, D/H, S) of a group."""

    q: Tensor
    k: Tensor


def _parts(groups: Sequence[Group], q: Tensor) -> Iterator[tuple[tuple[slice, slice], list[Group]]]:
    """A few samples at a time, or a few heads of one: which, and their groups."""
    batch, heads, _, length = q.shape
    scores = length * sum(group.logs.shape[-1] for group in groups)  # of a head
    room = CACHED * torch.get_num_threads() if q.device.type == "cpu" else batch * heads * scores
    some, few = max(room // (heads * scores), 1), min(max(room // scores, 1), heads)
    for sample in range(0, batch, some):
        rows = slice(sample, sample + some)
        part = [group.rows(rows) for group in groups]
        for head in range(0, heads, few):
            yield (rows, slice(head, head + few)), part


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


def _gradients(groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """Gradients of queries, keys and values; by the chain rule, a product each."""
    heads, scale = q.shape[1], q.shape[2] ** -0.5
    arranged = _arranged(groups, q, k)
    weights = _weights(groups, arranged, heads)
    towards = [group.cut(grad) for group in groups]  # (n, D/H, L)
    d_weights = [g.by_block(t.transpose(1, 2) @ g.gather(v), heads) for g, t in zip(groups, towards, strict=True)]
    d_scores = torch._softmax_backward_data(  # pyright: ignore[reportPrivateImportUsage]
        _joined(d_weights).to(weights.dtype), weights, -1, weights.dtype
    )
    dq, dk, dv = [], [], []
    shares, slopes = _by_group(groups, weights), _by_group(groups, d_scores)
    for group, (q, k), share, slope, toward in zip(groups, arranged, shares, slopes, towards, strict=True):
        dq.append(group.join(k @ slope.transpose(1, 2), heads))
        dk.append(group.spread(q @ slope, heads))
        dv.append(group.spread(toward @ share, heads))
    return _sum(dq) * scale, _sum(dk), _sum(dv)


def _by_group(groups: Sequence[Group], weights: Tensor) -> list[Tensor]:
    """(B, H, G, l, sum of S) -> per group (n, L, S)."""
    parts = weights.split([group.logs.shape[-1] for group in groups], -1)
    return [group.by_group(part) for group, part in zip(groups, parts, strict=True)]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _sum(parts: list[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)
