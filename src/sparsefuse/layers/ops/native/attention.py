"""Attention with narrow heads by `attention.cpp`, with its way back.

Gradients of gradients, of the mask, and torch.func, are not known.
"""

import functools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.layers.ops.native.building import library
from sparsefuse.layers.ops.native.call import NOWHERE, Given, Kind, View, view, views
from sparsefuse.layers.ops.tracing import eager, full
from sparsefuse.layers.ops.windows import means

WIDEST = 16
"""Width of a head up to which this is faster than PyTorch's kernel."""


def possible(x: Tensor, mask: Tensor, width: int) -> bool:
    """Whether heads of `width` channels can run here."""
    fits = eager(x) and x.dtype == torch.float32 and width <= WIDEST and not mask.requires_grad
    return fits and library("attention", width) is not None


def attended(x: Tensor, mask: Tensor, qkv: nn.Linear, out: nn.Linear, heads: int, pattern: str, span: int) -> Tensor:
    """Self-attention of x (B, N, D), mask (B, N) -> (B, N, D); `qkv` projects to queries, keys and values.

    `pattern` and `span` as in `sparse`.
    """
    options = Options.of(mask, heads, pattern, span)
    return _Attended.apply(x, qkv.weight, qkv.bias, out.weight, out.bias, options)  # pyright: ignore[reportReturnType]


def refuse_graph() -> None:
    """Raises RuntimeError on the way back if that is to be gone back once more. (`once_differentiable` is slower.)"""
    if torch.is_grad_enabled():
        raise RuntimeError("attention in C++ knows no gradients of gradients; leave out create_graph=True")


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Queries (B, H, N, C) over keys and values (B, H, N', C), mask (B, N') -> (B, H, N, C)."""
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    return _Dense.apply(q, k, v, None if full(mask) else _logs(mask))  # pyright: ignore[reportReturnType]


def _logs(weights: Tensor) -> Tensor:
    return weights.to(torch.float32).log2().contiguous()


class Far(NamedTuple):
    """Keys that all tokens see: CLS, and means."""

    share: Tensor
    """(B or 1, F, N): of which rows each is made"""
    weights: Tensor | None
    """(B, F), logarithms to base 2; None if all are 1"""

    @classmethod
    def of(cls, mask: Tensor, span: int) -> "Far":
        """For tokens under `mask` (B, N), CLS first."""
        share, weights = means(mask, span)
        share = F.pad(share, (1, 0, 1, 0))
        share[:, 0, 0] = 1
        return cls(share, _logs(torch.cat([mask[:, :1].to(weights.dtype), weights], 1)))


@functools.lru_cache(maxsize=16)
def _full_far(length: int, span: int) -> Far:
    with torch.inference_mode(False):  # or they could not be used in training later
        share, weights = Far.of(torch.ones(1, length, dtype=torch.bool, device="cpu"), span)
        assert weights is not None
        there = weights[0] == 0  # fewer tokens than means leave some empty
        return Far(share[:, there].contiguous(), None)


class Options(NamedTuple):
    """Who sees what."""

    weights: Tensor | None
    """of keys (B, N), logarithms to base 2; None if all are 1"""
    far: Far | None
    heads: int
    kind: Kind
    span: int

    @classmethod
    def of(cls, mask: Tensor, heads: int, pattern: str, span: int) -> "Options":
        """`pattern` and `span` as in `sparse`, for tokens under `mask` (B, N)."""
        kind, known = Kind[pattern.upper()], full(mask)
        if kind is not Kind.DENSE and mask.shape[1] - 1 <= span:
            kind = Kind.DENSE  # one block
        far = None if kind is not Kind.LOCAL else _full_far(mask.shape[1], span) if known else Far.of(mask, span)
        return cls(None if known else _logs(mask), far, heads, kind, span)

    @property
    def unfinished(self) -> bool:
        """Whether what is kept for the way back is needed on the way there too."""
        return self.kind is Kind.STRIDED


class _Attended(torch.autograd.Function):
    """Tokens (B, N, D) and both projections, as `nn.Linear` has them -> (B, N, D)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, out_weight: Tensor, out_bias: Tensor, options: Options
    ) -> Tensor:
        rows = F.linear(x, weight, bias)
        far = None if options.far is None else options.far.share @ rows[:, :, x.shape[2] :]
        read = torch.empty_like(x, memory_format=torch.contiguous_format)
        kept = _kept_for(any(ctx.needs_input_grad) or options.unfinished, x, options.heads)
        _given(rows, far, options).forward(_view(read, options), kept)
        ctx.save_for_backward(x, weight, out_weight, rows, far, read, kept)
        ctx.options = options
        return F.linear(read, out_weight, out_bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph()
        x, weight, out_weight, rows, far, read, kept = ctx.saved_tensors
        options, width = ctx.options, x.shape[2]
        grad = grads[0].flatten(0, 1)
        toward = (grad @ out_weight).view(x.shape)
        slopes, far_slopes = torch.empty_like(rows), None if far is None else torch.empty_like(far)
        places = views(slopes, 3, options.heads) + (
            [NOWHERE] * 2 if far_slopes is None else views(far_slopes, 2, options.heads)
        )
        _given(rows, far, options).backward(_view(read, options), kept, _view(toward, options), places)
        if far_slopes is not None:
            slopes[:, :, width:].baddbmm_(options.far.share.mT.expand(len(x), -1, -1), far_slopes)
        flat = slopes.flatten(0, 1)
        to_weights = flat.T @ x.flatten(0, 1), flat.sum(0), grad.T @ read.flatten(0, 1), grad.sum(0)
        return (flat @ weight).view(x.shape), *to_weights, None


def _given(rows: Tensor, far: Tensor | None, options: Options) -> Given:
    samples, length, _ = rows.shape
    q, k, v = views(rows, 3, options.heads)
    width = rows.shape[2] // 3 // options.heads
    given = Given(samples, options.heads, width, length, length, q, k, v, options.weights, options.kind, options.span)
    if far is None or options.far is None:
        return given
    k, v = views(far, 2, options.heads)
    return given._replace(far=far.shape[1], far_k=k, far_v=v, far_weights=options.far.weights)


class _Dense(torch.autograd.Function):
    """Queries (B, H, N, C), keys and values (B, H, N', C), logarithms of weights (B, N') -> (B, H, N, C)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, weights: Tensor | None) -> Tensor:
        x = _rows_like(q)
        kept = _kept_for(any(ctx.needs_input_grad), x.transpose(1, 2), q.shape[1])
        _of(q, k, v, weights).forward(view(x), kept)
        ctx.save_for_backward(q, k, v, weights, x, kept)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph()
        q, k, v, weights, x, kept = ctx.saved_tensors
        grad = grads[0] if grads[0].stride(3) == 1 else grads[0].contiguous()
        slopes = [_rows_like(t) for t in (q, k, v)]
        places = [*map(view, slopes), NOWHERE, NOWHERE]
        _of(q, k, v, weights).backward(view(x), kept, view(grad), places)
        return *slopes, None


def _of(q: Tensor, k: Tensor, v: Tensor, weights: Tensor | None) -> Given:
    samples, heads, length, width = q.shape
    return Given(samples, heads, width, length, k.shape[2], view(q), view(k), view(v), weights)


def _view(x: Tensor, options: Options) -> View:
    return views(x, 1, options.heads)[0]


def _rows_like(x: Tensor) -> Tensor:
    """An empty (B, H, N, C), in memory (B, N, H, C)."""
    samples, heads, length, width = x.shape
    return x.new_empty(samples, length, heads, width).transpose(1, 2)


def _kept_for(learning: bool, x: Tensor, heads: int) -> Tensor | None:
    """Room (2, B, H, N) for what the way back needs of x (B, N, ...)."""
    return x.new_empty(2, x.shape[0], heads, x.shape[1]) if learning else None
