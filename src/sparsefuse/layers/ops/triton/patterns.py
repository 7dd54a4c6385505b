"""Attention over a pattern by `pattern_kernels`, forward and backward: memory grows with N, not with scores."""

import math
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sparsefuse.layers.ops.torch.groups import EXPRESSIVITY
from sparsefuse.layers.ops.tracing import refuse_graph
from sparsefuse.layers.ops.triton import pattern_kernels as kernels
from sparsefuse.layers.ops.triton.launch import Dot, dot_of, launch, tile
from sparsefuse.layers.ops.triton.windows import readable, shares

LN2 = math.log(2)
MAX_HEAD_DIM = 64
"""Channels of a head up to which this is used."""
MAX_GRID = 65_535
"""Heads of all clips: what CUDA allows along the second axis of a grid."""
FEW = 512
"""Tokens up to which the strided pattern visits all pairs of tiles in one pass instead of its own pairs in two."""
SPLIT = 4096
"""Keys of the query CLS, or queries of a far key, that go through one program."""
TILE = 64
"""Queries, and keys, that go together."""


def supports(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str) -> bool:
    """Whether `attention` can compute this call."""
    dtypes = {q.dtype, k.dtype, v.dtype} <= {torch.float32, torch.bfloat16, torch.float16}
    sizes = 0 < q.shape[3] <= MAX_HEAD_DIM and min(q.shape[2], k.shape[2]) > 0 and len(q) * q.shape[1] <= MAX_GRID
    return dtypes and sizes and not mask.requires_grad


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str, span: int) -> Tensor:
    """See `ops.attention`."""
    dot = dot_of(q)
    q, k, v = (t.to(dot.dtype).transpose(1, 2) for t in (q, k, v))
    keys = Keys.of(mask, pattern, span, dot.dtype)
    far_k, far_v = keys.far_rows(k), keys.far_rows(v)
    return _Attention.apply(q, k, v, far_k, far_v, keys, dot).transpose(1, 2)  # pyright: ignore[reportAttributeAccessIssue]


class Keys(NamedTuple):
    """Which keys queries attend to."""

    passes: tuple[int, ...]
    """of `pattern_kernels`"""
    mask: Tensor
    """(B, N) bool, or weights"""
    span: int
    share: Tensor | None = None
    """(B, F, N): the weight of each token in each far key of LOCAL, CLS first"""
    far_mask: Tensor | None = None
    """(B, F) their weights"""

    @classmethod
    def of(cls, mask: Tensor, pattern: str, span: int, dtype: torch.dtype) -> "Keys":
        """`pattern` and `span` as in `ops.attention`, for keys under `mask` (B, N), in products of `dtype`."""
        length = mask.shape[1] - 1
        mask = readable(mask)
        if pattern == "dense" or (pattern == "local" and length <= span):
            return cls((kernels.DENSE.value,), mask, span)
        if pattern == "fixed" or (pattern == "strided" and length <= FEW):
            return cls(((kernels.FIXED if pattern == "fixed" else kernels.STRIDED).value,), mask, span)
        if pattern == "strided":
            return cls((kernels.NEAR.value, kernels.RESIDUE.value), mask, span)
        return cls((kernels.LOCAL.value,), mask, span, *shares(mask, span, dtype))

    def far_rows(self, rows: Tensor) -> Tensor | None:
        """The far keys (B, F, H, C) of keys (B, N, H, C), or of values; None if there are none."""
        if self.share is None:
            return None
        return (self.share @ rows.flatten(2)).unflatten(2, rows.shape[2:])


class _Attention(torch.autograd.Function):
    """Queries (B, N, H, C), keys and values (B, N', H, C), far keys and values (B, F, H, C) -> (B, N, H, C)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, keys: Keys, dot: Dot
    ) -> Tensor:
        q, k, v = rows_of(q), rows_of(k), rows_of(v)
        out, lse = forward(q, k, v, far_k, far_v, keys, dot)
        ctx.save_for_backward(q, k, v, far_k, far_v, out, lse)
        ctx.rest = keys, dot
        return out.to(q.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph("triton")
        q, k, v, far_k, far_v, out, lse = ctx.saved_tensors
        keys, dot = ctx.rest
        dtype = torch.float32 if len(keys.passes) > 1 else q.dtype
        dq, dk, dv = (torch.empty(t.shape, dtype=dtype, device=t.device) for t in (q, k, v))
        far = backward(q, k, v, far_k, far_v, keys, dot, out, lse, rows_of(grads[0]), dq, dk, dv)
        return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), *far, None, None


def rows_of(x: Tensor) -> Tensor:
    """As rows (B, N, H, C) in memory, heads side by side, wherever the rows are."""
    batch, length, heads, width = x.shape
    row = x.stride(1)
    as_it_is = x.stride(3) == 1 and x.stride(2) == width and (x.stride(0) == length * row or batch == 1)
    return x if as_it_is and row >= heads * width else x.contiguous()


def forward(
    q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, keys: Keys, dot: Dot
) -> tuple[Tensor, Tensor]:
    """Outputs (B, N, H, C), in float32 if two passes make them, and `lse` (B, H, N)."""
    batch, queries, heads, width = q.shape
    dtype = torch.float32 if len(keys.passes) > 1 else q.dtype
    out = torch.empty(batch, queries, heads, width, dtype=dtype, device=q.device)
    lse = torch.empty(batch, heads, queries, dtype=torch.float32, device=q.device)
    for kind in keys.passes:
        parts = _per_query(kind, q, k, v, far_k, far_v, keys, dot, out, lse)
        if parts is not None:
            cls, cls_lse = parts
            weights = (cls_lse * LN2).softmax(2)[..., None]
            out[:, 0] = (cls * weights).sum(2)
            lse[:, :, 0] = (cls_lse * LN2).logsumexp(2) / LN2
    return out, lse


def backward(
    q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, keys: Keys, dot: Dot,
    out: Tensor, lse: Tensor, grad: Tensor, dq: Tensor, dk: Tensor, dv: Tensor,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Fills dq, dk and dv; returns the gradients of far_k and far_v."""
    delta, far = torch.empty_like(lse), (None, None)
    for kind in keys.passes:
        parts = _per_query(kind, q, k, v, far_k, far_v, keys, dot, out, lse, grad, dq, delta)
        if parts is not None:
            dq[:, 0] = parts[0].sum(2)
        _per_key(kind, q, k, v, keys.mask, keys, dot, lse, grad, delta, dk, dv)
        if far_k is not None and far_v is not None and keys.far_mask is not None:
            far = _far(q, far_k, far_v, keys.far_mask, keys, dot, lse, grad, delta)
        if kind == kernels.NEAR.value:
            d_cls_k, d_cls_v = _far(q, k[:, :1], v[:, :1], keys.mask, keys, dot, lse, grad, delta)
            dk[:, :1] += d_cls_k
            dv[:, :1] += d_cls_v
    return far


def _per_query(
    kind: int, q: Tensor, k: Tensor, v: Tensor, far_k: Tensor | None, far_v: Tensor | None, keys: Keys, dot: Dot,
    out: Tensor, lse: Tensor, grad: Tensor | None = None, dq: Tensor | None = None, delta: Tensor | None = None,
) -> tuple[Tensor, Tensor] | None:  # fmt: skip
    """One pass forward, or with `grad` backward; returns CLS's (B, H, splits, C) and (B, H, splits)."""
    batch, queries, heads, width = q.shape
    length = k.shape[1]
    split = kind in (kernels.NEAR.value, kernels.LOCAL.value)
    splits = triton.cdiv(length, SPLIT) if split else 0
    parts = None
    if split:
        options = {"dtype": torch.float32, "device": q.device}
        parts = (
            torch.empty(batch, heads, splits, width, **options),
            torch.empty(batch, heads, splits, **options),
        )
    residues = keys.span if kind == kernels.RESIDUE.value else 1
    rows = triton.cdiv(queries - 1, residues) if split or residues > 1 else queries
    size = tile(rows, TILE)
    if far_k is None or far_v is None or keys.far_mask is None:
        far, far_k, far_v, far_mask, far_step = 1, k, v, keys.mask, length  # CLS
    else:
        far, far_mask, far_step = far_k.shape[1], keys.far_mask, far_k.shape[1]
    launch(
        kernels.per_query, (splits + triton.cdiv(rows, size), batch * heads, residues),
        q, q.stride(1), k, k.stride(1), v, v.stride(1), far_k, far_k.stride(1), far_v, far_v.stride(1),
        keys.mask, far_mask, out, out.stride(1), lse,
        q if grad is None else grad, 0 if grad is None else grad.stride(1),
        q if dq is None else dq, 0 if dq is None else dq.stride(1), lse if delta is None else delta,
        lse if parts is None else parts[0], lse if parts is None else parts[1],
        queries, length, far, far_step, keys.span, min(EXPRESSIVITY + 1, max(keys.span, 1)), splits, width**-0.5,
        PATTERN=kind, GRADIENT=grad is not None, H=heads, C=width, TC=tile(width, MAX_HEAD_DIM),
        BM=size, BN=tile(length, TILE), BF=tile(far, TILE), **dot.constants(),
    )  # fmt: skip
    return parts


def _per_key(
    kind: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, keys: Keys, dot: Dot, lse: Tensor, grad: Tensor,
    delta: Tensor, dk: Tensor, dv: Tensor, *, splits: int = 1,
) -> None:  # fmt: skip
    """One pass of the backward pass."""
    batch, queries, heads, width = q.shape
    length = k.shape[1]
    residues = keys.span if kind == kernels.RESIDUE.value else 1
    rows = triton.cdiv(length - 1, residues) if residues > 1 else length
    size = tile(rows, TILE)
    launch(
        kernels.per_key, (splits if splits > 1 else triton.cdiv(rows, size), batch * heads, residues),
        q, q.stride(1), k, k.stride(1), v, v.stride(1), mask, lse, grad, grad.stride(1), delta,
        dk, dk.stride(-3), dv, dv.stride(-3), queries, length, mask.shape[1], keys.span,
        min(EXPRESSIVITY + 1, max(keys.span, 1)), splits, width**-0.5,
        PATTERN=kind, H=heads, C=width, TC=tile(width, MAX_HEAD_DIM), BM=tile(queries, TILE), BN=size,
        **dot.constants(),
    )  # fmt: skip


def _far(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, keys: Keys, dot: Dot, lse: Tensor, grad: Tensor, delta: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of keys (B, F, H, C) that all tokens attend to, and of their values."""
    splits = triton.cdiv(q.shape[1], SPLIT)
    parts = [torch.empty(splits, *k.shape, dtype=torch.float32, device=q.device) for _ in range(2)]
    _per_key(kernels.FAR.value, q, k, v, mask, keys, dot, lse, grad, delta, *parts, splits=splits)
    dk, dv = (part.sum(0).to(q.dtype) for part in parts)
    return dk, dv
