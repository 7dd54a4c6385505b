"""Attention with narrow heads by `attention.h`, forward and backward."""

import functools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.ops.native.call import NOWHERE, Given, Kind, View, view
from sparsefuse.layers.ops.windows import means

WIDEST = 16
"""Width of a head up to which this is faster than PyTorch's kernel."""


def supports(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str) -> bool:
    """Whether `attention` can compute this call."""
    known = pattern in ("dense", "local", "strided") and not mask.requires_grad
    return known and all(t.dtype == torch.float32 for t in (q, k, v)) and q.shape[3] <= WIDEST


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str, span: int) -> Tensor:
    """See `ops.attention`."""
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    options = Options.of(mask, q.shape[1], pattern, span)
    far_k, far_v = (None, None) if options.far is None else (options.far.share[:, None] @ t for t in (k, v))
    return _Attention.apply(q, k, v, far_k, far_v, options)  # pyright: ignore[reportReturnType]


def refuse_graph() -> None:
    """Raises RuntimeError in a backward pass that is to be differentiated. (`once_differentiable` is slower.)"""
    if torch.is_grad_enabled():
        raise RuntimeError(
            'the backend native has no second derivatives (create_graph=True); use sparsefuse.backend("torch"), and '
            "torch.nn.attention.sdpa_kernel(SDPBackend.MATH), for PyTorch's own attention kernel has none either"
        )


MASKED = -1e38
"""Logarithm of a weight of 0: finite, so that a query without any real key, which reads nothing, is told from one whose
scores are all -inf, which is NaN in the definition."""


def _logs(weights: Tensor) -> Tensor:
    return weights.to(torch.float32).log2().clamp_min(MASKED).contiguous()


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
        """`pattern` and `span` as in `ops.attention`, for tokens under `mask` (B, N)."""
        kind, known = Kind[pattern.upper()], mask.dtype == torch.bool and bool(mask.all())
        if kind is not Kind.DENSE and mask.shape[1] - 1 <= span:
            kind = Kind.DENSE  # one block
        far = None if kind is not Kind.LOCAL else _full_far(mask.shape[1], span) if known else Far.of(mask, span)
        return cls(None if known else _logs(mask), far, heads, kind, span)

    @property
    def unfinished(self) -> bool:
        """Whether what is kept for the way back is needed on the way there too."""
        return self.kind is Kind.STRIDED


class _Attention(torch.autograd.Function):
    """Queries (B, H, N, C), keys and values (B, H, N', C), far keys and values (B, H, F, C) -> (B, H, N, C)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, options: Options
    ) -> Tensor:
        x = _rows_like(q)
        kept = _kept_for(any(ctx.needs_input_grad) or options.unfinished, q)
        _call(q, k, v, far_k, far_v, options).forward(view(x), kept)
        ctx.save_for_backward(q, k, v, far_k, far_v, x, kept)
        ctx.options = options
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph()
        q, k, v, far_k, far_v, x, kept = ctx.saved_tensors
        grad_out = grads[0] if grads[0].stride(3) == 1 else grads[0].contiguous()
        gradients = [None if t is None else _rows_like(t) for t in (q, k, v, far_k, far_v)]
        _call(q, k, v, far_k, far_v, ctx.options).backward(view(x), kept, view(grad_out), [_view(t) for t in gradients])
        return *gradients, None


def _call(q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, options: Options) -> Given:
    samples, heads, length, width = q.shape
    weights, far, _, kind, span = options
    given = Given(samples, heads, width, length, k.shape[2], view(q), view(k), view(v), weights, kind, span)
    if far is None or far_k is None:
        return given
    return given._replace(far=far_k.shape[2], far_k=_view(far_k), far_v=_view(far_v), far_weights=far.weights)


def _view(x: Tensor | None) -> View:
    return NOWHERE if x is None else view(x)


def _rows_like(q: Tensor) -> Tensor:
    """An empty (B, H, N, C), in memory (B, N, H, C)."""
    samples, heads, length, width = q.shape
    return q.new_empty(samples, length, heads, width).transpose(1, 2)


def _kept_for(learning: bool, q: Tensor) -> Tensor | None:
    """Room (2, B, H, N) for what the backward pass needs of queries."""
    return q.new_empty(2, *q.shape[:3]) if learning else None
