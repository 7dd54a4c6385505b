"""The local pattern on a processor, from tokens to tokens: windows of keys are read where they lie (`line`).

For where `native` is not to be had. One operation from the norm to the residual, with its way back written out: scores,
as powers of two (`powers`), are made again there. Gradients of gradients, of the mask, and torch.func, are not known.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparsefuse.layers.heads import Projection
from sparsefuse.layers.line import Line
from sparsefuse.layers.ops.tracing import full
from sparsefuse.layers.ops.windows import means
from sparsefuse.layers.powers import CACHED, asked, asking, divide, product, relative, scale, trusted, weigh


def fits(x: Tensor, mask: Tensor, span: int) -> bool:
    """Whether `windowed` can do it: more than a block, no gradient of the mask."""
    return x.shape[1] - 1 > span and not mask.requires_grad


def windowed(x: Tensor, mask: Tensor, qkv: nn.Linear, out: nn.Linear, num_heads: int, span: int) -> Tensor:
    """Self-attention of x (B, 1 + N, D) by the local pattern -> (B, 1 + N, D); `qkv` gives queries, keys and values."""
    line = Line(x.shape[1] - 1, span)
    weights = _full_weights(line, x.dtype) if full(mask) else _weights(relative(mask, x.dtype), line)
    return _Windowed.apply(x, qkv.weight, qkv.bias, out.weight, out.bias, weights, num_heads, line)  # pyright: ignore[reportReturnType]


class Weights(NamedTuple):
    """What keys weigh. Where all tokens are real, one sample stands for all (its B is 1)."""

    near: Tensor
    """(B, P), without CLS"""
    share: Tensor
    """(B, M, P): of which tokens each mean is made"""
    far: Tensor
    """(B, 1 + M): CLS and the means, which all blocks see"""
    full: bool


def _weights(weights: Tensor, line: Line, *, full: bool = False) -> Weights:
    share, of_means = means(weights, line.span)
    around = torch.cat([torch.zeros_like(share[..., :1]), share.to(weights.dtype)], 2)
    far = torch.cat([weights[:, :1], of_means.to(weights.dtype)], 1)
    near = torch.cat([torch.zeros_like(weights[:, :1]), weights[:, 1:]], 1)
    return Weights(line.laid(near[..., None])[..., 0], line.laid(around.mT).mT.contiguous(), far, full)


@functools.lru_cache(maxsize=16)
def _full_weights(line: Line, dtype: torch.dtype) -> Weights:
    with torch.inference_mode(False):  # or they could not be used in training later
        return _weights(torch.ones(1, 1 + line.length, dtype=dtype, device="cpu"), line, full=True)


class Keys(NamedTuple):
    """What is read. A part's C channels are followed by those of the next; a sequence is a head of a sample."""

    tokens: Tensor
    """(3 C + 1, H B, P): queries, keys, weighed values, weights"""
    far: Tensor
    """(2 C + 1, H B, 1 + M): keys, weighed values, weights of CLS and the means"""


class Read(NamedTuple):
    """What queries read."""

    x: Tensor
    """(C + 1, H B, P): last, one over the sum of powers, or 0 where nothing is read"""
    top: Tensor | None
    """(1, H B, P): what was taken off the scores; None if nothing was"""


class _Windowed(torch.autograd.Function):
    """Tokens (B, 1 + N, D) and both projections -> (B, 1 + N, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        weights: Weights,
        heads: int,
        line: Line,
    ) -> Tensor:
        laid = line.laid(x)
        shared = torch.cat([x[:, :1], weights.share @ laid], 1)  # the mean of projected tokens is the projected mean
        projection = Projection.of(weight, bias, out_weight, heads)
        keys = _projected(laid, shared, projection, weights, line)
        read = _read(keys, line, large=False)
        if not trusted(read.x[-1], weights.far[:, 0] > 0):
            read = _read(keys, line, large=True)
        ctx.save_for_backward(laid, shared, *keys, *read, *projection[:3])
        ctx.weights, ctx.heads, ctx.line = weights, heads, line
        y = torch.addmm(out_bias, read.x[:-1].view(x.shape[2], -1).T, projection.out)
        return line.tokens(y.view(laid.shape))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        laid, shared, tokens, far, x, top, *three = ctx.saved_tensors
        projection = Projection(three[0], three[1], three[2], ctx.heads)
        weights, line, width = ctx.weights, ctx.line, laid.shape[2]
        grad = line.laid(grads[0]).view(-1, width)
        toward = projection.flowing(grad, x)
        slopes, of_shared = _slopes(toward, Keys(tokens, far), Read(x, top), weights, line)
        slopes, of_shared = slopes.view(3 * width, -1), of_shared.view(2 * width, -1)
        d_laid = (slopes.T @ projection.weight).view(laid.shape)
        d_shared = (of_shared.T @ projection.weight[width:]).view(shared.shape)
        d_laid += weights.share.mT @ d_shared[:, 1:]
        d_laid[:, line.cls] += d_shared[:, 0]
        d_weight, d_bias = slopes @ laid.view(-1, width), slopes.sum(1)
        d_weight[width:] += of_shared @ shared.flatten(0, 1)
        d_bias[width:] += of_shared.sum(1)
        d_weights = projection.slopes(d_weight, d_bias, x[:-1].view(width, -1) @ grad)
        return line.tokens(d_laid), *d_weights, grad.sum(0), None, None, None


def _projected(laid: Tensor, shared: Tensor, projection: Projection, weights: Weights, line: Line) -> Keys:
    """Queries, keys and values of tokens (B, P, D), and of what all blocks see (B, 1 + M, D)."""
    width, heads = laid.shape[2], projection.heads
    tokens = laid.new_empty(3 * width // heads + 1, heads * len(laid), line.places)
    far = laid.new_empty(2 * width // heads + 1, heads * len(laid), shared.shape[1])
    projection.project(laid.view(-1, width), tokens[:-1].view(3 * width, -1))
    projection.project(shared.flatten(0, 1), far[:-1].view(2 * width, -1), skip=width)
    tokens[-1], far[-1] = 1, 1
    _weigh(tokens[2 * width // heads :], weights, line)
    weigh(far[width // heads :], weights.far)
    return Keys(tokens, far)


class _Parts(NamedTuple):
    """Keys by what they are: C channels each, and one more of values for their weights."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    far_keys: Tensor
    far_values: Tensor
    factor: float
    """of the products of queries and keys"""


def _parts(given: Keys, top: Tensor | None) -> _Parts:
    """Queries and keys of scores from which `top` is taken off, if there is one."""
    tokens, far = given
    channels = len(tokens) // 3
    q, k, far_k, factor = tokens[:channels], tokens[channels : 2 * channels], far[:channels], scale(channels)
    if top is not None:
        q, k, far_k, factor = asking(q * factor, top), asked(k, tokens[-1]), asked(far_k, far[-1]), 1
    return _Parts(q, k, tokens[2 * channels :], far_k, far[channels:], factor)


def _read(given: Keys, line: Line, *, large: bool) -> Read:
    """What all queries read. `large` scores have their maximum taken off."""
    top = torch.zeros_like(given.tokens[:1]) if large else None
    q, k, values, far_k, far_values, factor = _parts(given, top)
    sums = torch.empty_like(values)
    for part in _some(q, line):
        near = product(line.blocks(q[:, part]).mT, line.near(k[:, part]), factor)  # (n, l, 2 l)
        far = product(q[:, part].permute(1, 2, 0), far_k[:, part].transpose(0, 1), factor)  # (sequences, P, 1 + M)
        if top is not None:
            top[0, part] = _largest(near, far, line)
            near -= line.blocks(top[:, part]).mT
            far -= top[0, part, :, None]
        line.join(line.near(values[:, part]) @ near.exp2_().mT, sums[:, part])
        sums[:, part].transpose(0, 1).add_(far_values[:, part].transpose(0, 1) @ far.exp2_().mT)
    by_cls = _scores_of_cls(q, k, far_k, factor, line)
    if top is not None:
        top[0, :, line.cls] = by_cls.amax(1)
        by_cls -= top[0, :, line.cls, None]
    sums[..., line.cls] = (values * by_cls.exp2_()).sum(-1) + far_values[..., 0] * by_cls[:, line.cls]
    divide(sums, 0, out=sums[:-1], share=sums[-1:])
    return Read(sums, top)


def _largest(near: Tensor, far: Tensor, line: Line) -> Tensor:
    """The largest score of each query (sequences, P)."""
    of_near = torch.full_like(far[None, ..., 0], -math.inf)
    line.blocks(of_near).copy_(near.amax(-1)[:, None])
    return torch.maximum(far.amax(-1), of_near[0])


def _scores_of_cls(q: Tensor, k: Tensor, far_k: Tensor, factor: float, line: Line) -> Tensor:
    """Those of all tokens, and of itself at its place (H B, P)."""
    cls = q[..., line.cls] * factor
    scores = (cls[..., None] * k).sum(0)  # a product of one row is slower
    scores[:, line.cls] = (cls * far_k[..., 0]).sum(0)
    return scores


def _slopes(toward: Tensor, given: Keys, read: Read, weights: Weights, line: Line) -> tuple[Tensor, Tensor]:
    """Slopes of queries, keys and values (3 C, H B, P), and of the shared keys and values (2 C, H B, 1 + M).

    `toward` (C + 1, H B, P), those of what was read and of what divided it, is used up.
    """
    channels, share, top = len(read.x) - 1, read.x[-1:], read.top
    if top is None:
        toward *= share
    queries, keys, values, far_keys, far_values, factor = _parts(given, None if top is None else top - share.log2())
    (q, k, _), far_k, steepness = given.tokens[:-1].split(channels), given.far[:channels], channels**-0.5
    slopes, far_slopes = torch.empty_like(given.tokens[:-1]), torch.empty_like(given.far[:-1])
    (dq, dk, dv), (d_far_k, d_far_v) = slopes.split(channels), far_slopes.split(channels)
    of_cls = toward[..., line.cls].clone()
    toward[..., line.cls] = 0
    for part in _some(q, line):
        near = product(line.blocks(queries[:, part]).mT, line.near(keys[:, part]), factor).exp2_()
        far = product(queries[:, part].permute(1, 2, 0), far_keys[:, part].transpose(0, 1), factor).exp2_()
        going, all_going = line.blocks(toward[:, part]), toward[:, part].transpose(0, 1)
        steep = (going.mT @ line.near(values[:, part])).mul_(near)  # slopes of the scores
        far_steep = (all_going.mT @ far_values[:, part].transpose(0, 1)).mul_(far)
        line.join(product(line.near(k[:, part]), steep.mT, steepness), dq[:, part])
        dq[:, part].transpose(0, 1).add_(product(far_k[:, part].transpose(0, 1), far_steep.mT, steepness))
        line.spread(product(line.blocks(q[:, part]), steep, steepness), dk[:, part])
        line.spread(going[:, :-1] @ near, dv[:, part])
        d_far_k[:, part] = product(q[:, part].transpose(0, 1), far_steep, steepness).transpose(0, 1)
        d_far_v[:, part] = (all_going[:, :-1] @ far).transpose(0, 1)
    by_cls = _scores_of_cls(queries, keys, far_keys, factor, line).exp2_()
    steep = (of_cls[..., None] * values).sum(0).mul_(by_cls)
    steep[:, line.cls] = (of_cls * far_values[..., 0]).sum(0) * by_cls[:, line.cls]
    steep *= steepness
    dq[..., line.cls] = (k * steep).sum(-1)
    dk.addcmul_(q[..., line.cls, None], steep)
    dv.addcmul_(of_cls[:-1, :, None], by_cls)
    d_far_v[..., 0] += of_cls[:-1] * by_cls[:, line.cls]
    _weigh(dv, weights, line)
    weigh(d_far_v, weights.far)
    return slopes, far_slopes


def _some(q: Tensor, line: Line) -> Iterator[slice]:
    """A few sequences of (C, sequences, P) at a time, in equal parts."""
    scores = q.shape[1] * q.shape[2] * 2 * line.span
    parts = max(math.ceil(scores / (CACHED * torch.get_num_threads())), 1)
    some = max(math.ceil(q.shape[1] / parts), 1)
    return (slice(first, first + some) for first in range(0, q.shape[1], some))


def _weigh(values: Tensor, weights: Weights, line: Line) -> None:
    """Values (C, H B, P) times what their tokens weigh."""
    if not weights.full:
        return weigh(values, weights.near)
    for places in line.around:
        values[..., places] = 0
    return None
