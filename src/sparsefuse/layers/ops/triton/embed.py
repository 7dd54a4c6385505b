"""The embedding of features in one kernel; its gradients are one product and one sum in PyTorch."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsefuse.layers.ops.tracing import refuse_graph
from sparsefuse.layers.ops.triton.launch import Dot, dot_of, launch, tile
from sparsefuse.layers.ops.triton.tiles import matrix, product, vector

MAX_DIM = 128
"""Channels of a token."""
ROWS, FEATURES = 64, 64
"""Tokens, and their features, that go together."""


def supports(x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor) -> bool:
    """Whether `embedding` can compute this call."""
    dtypes = {x.dtype, weight.dtype} <= {torch.float32, torch.bfloat16, torch.float16}
    few = len(weight) <= MAX_DIM and x.shape[1] < len(position) and x.shape[2] and len(x)
    return bool(dtypes and few and not x.requires_grad)


def embedding(x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor) -> Tensor:
    """See `ops.embedding`."""
    return _Embedded.apply(x.contiguous(), weight, bias, cls, position, dot_of(x))  # pyright: ignore[reportReturnType]


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor, dot: Dot) -> Tensor:
        batch, length, features = x.shape
        dtype = torch.promote_types(dot.dtype, position.dtype)
        y = torch.empty(batch, 1 + length, len(weight), dtype=dtype, device=x.device)
        launch(
            embed, (triton.cdiv(1 + length, ROWS), batch), x, weight, bias, cls, position, y, length, features,
            D=len(weight), TD=tile(len(weight), MAX_DIM), BM=ROWS, BF=tile(features, FEATURES), **dot.constants(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, bias, cls, position)
        ctx.dot = dot
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph("triton")
        (x, weight, bias, cls, position), dot = ctx.saved_tensors, ctx.dot
        rows = grads[0].sum(0, dtype=torch.float32)  # (1 + N, D)
        table = torch.zeros_like(position)
        table[: len(rows)] = rows
        dweight = grads[0][:, 1:].flatten(0, 1).mT.to(dot.dtype) @ x.flatten(0, 1).to(dot.dtype)
        return None, dweight.to(weight.dtype), rows[1:].sum(0).to(bias.dtype), rows[0].to(cls.dtype), table, None


@triton.jit(do_not_specialize=("length",))
def embed(
    x_ptr, weight_ptr, bias_ptr, cls_ptr, position_ptr, y_ptr, length, F: tl.constexpr, D: tl.constexpr,
    TD: tl.constexpr, BM: tl.constexpr, BF: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """CLS and projected features of a clip, x (B, N, F) -> y (B, 1 + N, D), with their positions."""
    clip = tl.program_id(1).to(tl.int64)
    rows, columns = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, TD)
    here = (rows <= length)[:, None] & (columns < D)[None, :]
    y = tl.zeros((BM, TD), tl.float32)
    for first in range(0, F, BF):
        features = first + tl.arange(0, BF)
        inside = ((rows > 0) & (rows <= length))[:, None] & (features < F)[None, :]
        x = tl.load(x_ptr + (clip * length + rows - 1)[:, None] * F + features[None, :], inside, 0.0)
        weight = matrix(weight_ptr, columns, D, features, F, F)
        y += product(x, tl.trans(weight), DOT, PRECISION)
    y = tl.where((rows > 0)[:, None], y + vector(bias_ptr, columns, D), vector(cls_ptr, columns, D))
    y += tl.load(position_ptr + rows[:, None] * D + columns[None, :], here, 0.0).to(tl.float32)
    tl.store(y_ptr + clip * (length + 1) * D + rows[:, None] * D + columns[None, :], y.to(y_ptr.dtype.element_ty), here)
