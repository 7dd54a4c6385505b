"""Attention with narrow heads by `attention.h`, forward and backward."""

import functools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.ops.native.call import NO_ROWS, AttentionCall, Kind, RowsView, rows_view
from sparsefuse.layers.ops.tracing import refuse_graph
from sparsefuse.layers.ops.windows import means

MAX_HEAD_DIM = 16
"""Channels of a head up to which this is faster than PyTorch's kernel."""


def supports(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str) -> bool:
    """Whether `attention` can compute this call."""
    supported = pattern in ("dense", "local", "strided") and not mask.requires_grad
    return supported and all(t.dtype == torch.float32 for t in (q, k, v)) and q.shape[3] <= MAX_HEAD_DIM


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str, span: int) -> Tensor:
    """See `ops.attention`."""
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    keys = KeyPattern.of(mask, q.shape[1], pattern, span)
    far_k, far_v = (None, None) if keys.far is None else (keys.far.share[:, None] @ t for t in (k, v))
    return _Attention.apply(q, k, v, far_k, far_v, keys)  # pyright: ignore[reportReturnType]


MASKED = -1e38
"""Logarithm of a weight of 0: finite, so that a query without any real key, whose output is finite, differs from one
whose scores are all -inf, whose output is NaN in the definition."""


def _logs(weights: Tensor) -> Tensor:
    return weights.to(torch.float32).log2().clamp_min(MASKED).contiguous()


class FarKeys(NamedTuple):
    """Keys that every token attends to: CLS, and means of windows."""

    share: Tensor
    """(B or 1, F, N): the weight of each token in each far key"""
    weights: Tensor | None
    """(B, F) log2 weights; None if all weights are 1"""

    @classmethod
    def of(cls, mask: Tensor, span: int) -> "FarKeys":
        """For tokens under `mask` (B, N), CLS first."""
        share, weights = means(mask, span)
        share = F.pad(share, (1, 0, 1, 0))
        share[:, 0, 0] = 1
        return cls(share, _logs(torch.cat([mask[:, :1].to(weights.dtype), weights], 1)))


@functools.lru_cache(maxsize=16)
def _full_far_keys(length: int, span: int) -> FarKeys:
    with torch.inference_mode(False):  # inference tensors could not be used in training later
        share, weights = FarKeys.of(torch.ones(1, length, dtype=torch.bool, device="cpu"), span)
        assert weights is not None
        filled = weights[0] == 0  # with fewer tokens than means some means are empty
        return FarKeys(share[:, filled].contiguous(), None)


class KeyPattern(NamedTuple):
    """Which keys each query attends to."""

    weights: Tensor | None
    """(B, N) log2 weights of the keys; None if all weights are 1"""
    far: FarKeys | None
    heads: int
    kind: Kind
    span: int

    @classmethod
    def of(cls, mask: Tensor, heads: int, pattern: str, span: int) -> "KeyPattern":
        """`pattern` and `span` as in `ops.attention`, for tokens under `mask` (B, N)."""
        kind, unmasked = Kind[pattern.upper()], mask.dtype == torch.bool and bool(mask.all())
        if kind is not Kind.DENSE and mask.shape[1] - 1 <= span:
            kind = Kind.DENSE  # one block
        far = None
        if kind is Kind.LOCAL:
            far = _full_far_keys(mask.shape[1], span) if unmasked else FarKeys.of(mask, span)
        return cls(None if unmasked else _logs(mask), far, heads, kind, span)

    @property
    def forward_needs_saved(self) -> bool:
        """Whether forward itself needs the buffer that is saved for backward."""
        return self.kind is Kind.STRIDED


class _Attention(torch.autograd.Function):
    """Queries (B, H, N, C), keys and values (B, H, N', C), far keys and values (B, H, F, C) -> (B, H, N, C)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, keys: KeyPattern
    ) -> Tensor:
        x = _rows_like(q)
        saved = _saved_for(any(ctx.needs_input_grad) or keys.forward_needs_saved, q)
        _call(q, k, v, far_k, far_v, keys).forward(rows_view(x), saved)
        ctx.save_for_backward(q, k, v, far_k, far_v, x, saved)
        ctx.keys = keys
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph("native")
        q, k, v, far_k, far_v, x, saved = ctx.saved_tensors
        grad_out = grads[0] if grads[0].stride(3) == 1 else grads[0].contiguous()
        gradients = [None if t is None else _rows_like(t) for t in (q, k, v, far_k, far_v)]
        call = _call(q, k, v, far_k, far_v, ctx.keys)
        call.backward(rows_view(x), saved, rows_view(grad_out), [_optional_view(t) for t in gradients])
        return *gradients, None


def _call(
    q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, keys: KeyPattern
) -> AttentionCall:
    samples, heads, length, width = q.shape
    weights, far, _, kind, span = keys
    views = rows_view(q), rows_view(k), rows_view(v)
    call = AttentionCall(samples, heads, width, length, k.shape[2], *views, weights, kind, span)
    if far is None or far_k is None:
        return call
    far_views = _optional_view(far_k), _optional_view(far_v)
    return call._replace(far=far_k.shape[2], far_k=far_views[0], far_v=far_views[1], far_weights=far.weights)


def _optional_view(x: Tensor | None) -> RowsView:
    return NO_ROWS if x is None else rows_view(x)


def _rows_like(q: Tensor) -> Tensor:
    """An empty (B, H, N, C), in memory (B, N, H, C)."""
    samples, heads, length, width = q.shape
    return q.new_empty(samples, length, heads, width).transpose(1, 2)


def _saved_for(needs_grad: bool, q: Tensor) -> Tensor | None:
    """A buffer (2, B, H, N) for the row maxima and inverse sums that backward needs."""
    return q.new_empty(2, *q.shape[:3]) if needs_grad else None
