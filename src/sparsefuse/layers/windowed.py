"""The local pattern on a processor, from tokens to tokens: windows of keys are read where they lie.

Projected tokens lie in a line per channel, heads and samples one after the other, so that products of overlapping
windows need no copy of keys. Scores are powers of two (`powers`), made again on the way back. Gradients of gradients,
of the mask, and torch.func, are not known.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparsefuse.layers.attention import key_bias
from sparsefuse.layers.groups import means
from sparsefuse.layers.heads import ByChannel
from sparsefuse.layers.powers import asked, asking, divide, powers, relative, scale, small, weighed
from sparsefuse.layers.tracing import full

CACHED = 2**18
"""Scores that go at once, per thread. Fewer leave the threads waiting for each other, more leave the cache."""


def fits(x: Tensor, mask: Tensor, span: int) -> bool:
    """Whether `windowed` can do it: more than a block, no gradient of the mask."""
    return x.shape[1] - 1 > span and not mask.requires_grad


def windowed(x: Tensor, mask: Tensor, qkv: nn.Linear, out: nn.Linear, num_heads: int, span: int) -> Tensor:
    """Self-attention of x (B, 1 + N, D) by the local pattern -> (B, 1 + N, D).

    `qkv` projects to queries, keys and values: the mean of projected tokens is the projected mean of tokens.
    """
    line = Line(x.shape[0], x.shape[1] - 1, span)
    weights = relative(mask, x.dtype)
    share, of_means = means(weights[:1] if full(mask) else weights, span)
    share, of_means = share.to(x.dtype), of_means.to(x.dtype).expand(len(x), -1)
    project = ByChannel(qkv, 3, num_heads, scale=scale(x.shape[2] // num_heads))
    shared = torch.cat([x[:, :1], share @ x[:, 1:]], 1)  # (B, 1 + M, D): what all blocks read
    tokens = project(line.laid(x[:, 1:]))  # (3, D/H, H, B, P)
    shared = project(shared)  # (3, D/H, H, B, 1 + M)
    of_shared, weights = torch.cat([weights[:, :1], of_means], 1), line.laid(weights[:, 1:, None])[..., 0]
    read = _Windowed.apply(tokens, shared[1:], weights, of_shared, span)  # (D/H, H, B, P)
    by_cls = _read_by_cls(shared[..., 0], tokens[1:], of_shared[:, :1], weights)  # (D/H, H, B)
    weight = out.weight.view(-1, num_heads, read.shape[0]).transpose(1, 2).flatten(1)  # by channel and then head
    read = F.linear(read.flatten(0, 1).flatten(1).T, weight, out.bias).view(line.samples, -1, x.shape[2])
    by_cls = F.linear(by_cls.flatten(0, 1).T, weight, out.bias)
    return torch.cat([by_cls[:, None], line.tokens(read)], 1)


def _read_by_cls(cls: Tensor, tokens: Tensor, own: Tensor, weights: Tensor) -> Tensor:
    """CLS (3, D/H, H, B) reads itself, of weight (B, 1), and all tokens (2, D/H, H, B, P) -> (D/H, H, B)."""
    k, v = torch.cat([cls[1:, ..., None], tokens], -1)
    scores = (cls[0, ..., None] * k).sum(0) * math.log(2) + key_bias(torch.cat([own, weights], 1), k.dtype)
    return (scores.softmax(-1) * v).sum(-1)


class Line(NamedTuple):
    """Where tokens lie: P places for N of them, in blocks of `span`, of which the last is empty.

    They begin half a block late: the blocks of queries do too, and the keys around a block begin half a block earlier,
    on a whole one.
    """

    samples: int
    length: int
    span: int

    def laid(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, P, C), 0 around."""
        places = (-(-self.length // self.span) + 1) * self.span
        return F.pad(x, (0, 0, self.span // 2, places - self.length - self.span // 2))

    def tokens(self, x: Tensor) -> Tensor:
        """(B, P, C) -> (B, N, C)."""
        return x[:, self.span // 2 : self.span // 2 + self.length]


class _Windowed(torch.autograd.Function):
    """Projected tokens (3, C, H, B, P), shared ones (2, C, H, B, S), the weights of both (B, any) -> (C, H, B, P)."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, shared: Tensor, weights: Tensor, of_shared: Tensor, span: int) -> Tensor:
        x, logs = _read(tokens, shared, weights, of_shared, span)
        ctx.span = span
        ctx.save_for_backward(tokens, shared, weights, of_shared, x, logs)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        tokens, shared, weights, of_shared, x, logs = ctx.saved_tensors
        slopes = _slopes(grads[0], tokens, shared, weights, of_shared, x, logs, ctx.span)
        return *slopes, None, None, None


# Below, a head of a sample is a sequence of P places. A part is some sequences, n blocks.


def _read(tokens: Tensor, shared: Tensor, weights: Tensor, of_shared: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """What queries read, (C, H, B, P), and the logarithm of what it was divided by (1, H B, P)."""
    (q, k, _), (read_k, _), values, shared_values = _laid(tokens, shared, weights, of_shared)
    x, logs = torch.empty_like(q), torch.empty_like(q[:1])
    large, heads = not small(q, k, read_k, dim=0), tokens.shape[2]
    if large:
        q = asking(q, torch.zeros_like(logs), 0)
        k, read_k = asked(k, weights.repeat(heads, 1), 0), asked(read_k, of_shared.repeat(heads, 1), 0)
    for part in _parts(q, span):
        near = _blocks(q[:, part], span).mT @ _around(k[:, part], span)  # (n, l, 2 l)
        far = q[:, part].transpose(0, 1).mT @ read_k[:, part].transpose(0, 1)  # (sequences, P, S)
        top = _largest(near, far, span) if large else None
        if top is not None:
            near -= _blocks(top, span).mT
            far -= top[0, :, :, None]
        sums = torch.empty_like(values[:, part])
        _join(_around(values[:, part], span) @ near.exp2_().mT, sums, span)
        sums.transpose(0, 1).add_(shared_values[:, part].transpose(0, 1) @ far.exp2_().mT)
        divide(sums, 0, out=x[:, part], logs=logs[:, part])
        if top is not None:
            logs[:, part] += top
    return x.view(tokens.shape[1:]), logs


def _largest(near: Tensor, far: Tensor, span: int) -> Tensor:
    """The largest score of each query (1, sequences, P)."""
    top = far.amax(-1)[None]
    of_near = torch.full_like(top, -math.inf)
    _blocks(of_near, span).copy_(near.amax(-1)[:, None])
    return torch.maximum(top, of_near)


def _slopes(
    toward: Tensor,
    tokens: Tensor,
    shared: Tensor,
    weights: Tensor,
    of_shared: Tensor,
    x: Tensor,
    logs: Tensor,
    span: int,
) -> tuple[Tensor, Tensor]:
    """Slopes of tokens and of shared ones, by those of what was read."""
    (q, k, _), (read_k, _), values, shared_values = _laid(tokens, shared, weights, of_shared)
    heads = tokens.shape[2]
    queries, keys = asking(q, logs, 0), asked(k, weights.repeat(heads, 1), 0)
    read_keys = asked(read_k, of_shared.repeat(heads, 1), 0)
    toward = torch.cat([toward, -(toward * x).sum(0, keepdim=True)]).flatten(1, 2)
    d_tokens, d_shared = torch.empty_like(tokens), torch.empty_like(shared)
    (dq, dk, dv), (d_read_k, d_read_v) = d_tokens.flatten(2, 3), d_shared.flatten(2, 3)
    for part in _parts(q, span):
        all_queries, all_going = q[:, part].transpose(0, 1), toward[:, part].transpose(0, 1)
        near = powers(_blocks(queries[:, part], span), _around(keys[:, part], span))  # what is read, but for weights
        far = powers(queries[:, part].transpose(0, 1), read_keys[:, part].transpose(0, 1))
        going = _blocks(toward[:, part], span)
        steep = (going.mT @ _around(values[:, part], span)).mul_(near)  # slopes of the scores
        far_steep = (all_going.mT @ shared_values[:, part].transpose(0, 1)).mul_(far)
        _join(_around(k[:, part], span) @ steep.mT, dq[:, part], span)
        dq[:, part].transpose(0, 1).add_(read_k[:, part].transpose(0, 1) @ far_steep.mT)
        _spread(_blocks(q[:, part], span) @ steep, dk[:, part], span)
        _spread(going[:, :-1] @ near, dv[:, part], span)
        d_read_k[:, part] = (all_queries @ far_steep).transpose(0, 1)
        d_read_v[:, part] = (all_going[:, :-1] @ far).transpose(0, 1)
    d_tokens[:2] *= math.log(2)  # as scores are powers of two
    d_tokens[2] *= weights
    d_shared[0] *= math.log(2)
    d_shared[1] *= of_shared
    return d_tokens, d_shared


def _laid(tokens: Tensor, shared: Tensor, weights: Tensor, of_shared: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens (3, C, HB, P), shared tokens (2, C, HB, S), and the weighed values of both (C + 1, HB, any)."""
    heads = tokens.shape[2]
    values = weighed(tokens[2].flatten(1, 2), weights.repeat(heads, 1), 0)
    shared_values = weighed(shared[1].flatten(1, 2), of_shared.repeat(heads, 1), 0)
    return tokens.flatten(2, 3), shared.flatten(2, 3), values, shared_values


def _parts(q: Tensor, span: int) -> Iterator[slice]:
    """A few sequences of (C, sequences, P) at a time."""
    some = max(CACHED * torch.get_num_threads() // (q.shape[2] * 2 * span), 1)
    return (slice(first, first + some) for first in range(0, q.shape[1], some))


def _blocks(x: Tensor, span: int) -> Tensor:
    """(C, sequences, P) -> (n, C, l): blocks of queries."""
    return _windows(x, span // 2, span, span)


def _around(x: Tensor, span: int) -> Tensor:
    """(C, sequences, P) -> (n, C, 2 l): keys around the blocks."""
    return _windows(x, 0, 2 * span, span)


def _windows(x: Tensor, start: int, size: int, span: int) -> Tensor:
    """Views of `size` places every `span`, from sequence to sequence; none begins in the very last block."""
    count = x.shape[1] * x.shape[2] // span - 1
    return x.as_strided((count, x.shape[0], size), (span, x.stride(0), 1), x.storage_offset() + start)


def _join(blocks: Tensor, into: Tensor, span: int) -> None:
    """Blocks of queries (n, C, l) into (C, sequences, P). (A product could not be written into such a view at once.)"""
    into[:, 0, : span // 2] = 0
    into[:, -1, -span // 2 :] = 0
    _blocks(into, span).copy_(blocks)


def _spread(around: Tensor, into: Tensor, span: int) -> None:
    """The transpose of `_around`: (n, C, 2 l) into (C, sequences, P)."""
    first, second = around.split(span, 2)
    into[:, -1, -span:] = 0
    _windows(into, 0, span, span).copy_(first)
    _windows(into, span, span, span).add_(second)
