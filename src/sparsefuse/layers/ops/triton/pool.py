"""Means over windows in one kernel: a program sums the tokens of one window, in order."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsefuse.layers.ops.tracing import refuse_graph
from sparsefuse.layers.ops.triton.launch import launch, tile

TOKENS = 32
"""Tokens that go together."""


def supports(x: Tensor, weight: Tensor, index: Tensor) -> bool:
    """Whether `window_means` can compute this call."""
    return x.is_floating_point() and x.dtype != torch.float64 and min(x.shape) > 0


def window_means(x: Tensor, weight: Tensor, index: Tensor, count: int) -> Tensor:
    """See `ops.window_means`."""
    return _Means.apply(x, weight, index, count)  # pyright: ignore[reportReturnType]


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, index: Tensor, count: int) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        batch, length, dim = x.shape
        windows = torch.arange(count, device=x.device).expand(batch, -1).contiguous()
        ends = torch.searchsorted(index.contiguous(), windows, right=True)
        y, total = x.new_empty(batch, count, dim), torch.empty(batch, count, device=x.device)
        sizes = {"TD": tile(dim, 128), "TOKENS": TOKENS}
        launch(means, (count, batch, triton.cdiv(dim, sizes["TD"])), x, weight, ends, y, total, length, dim, **sizes)
        ctx.save_for_backward(x, weight, index, y, total)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph("triton")
        x, weight, index, y, total = ctx.saved_tensors
        place = index[..., None].expand_as(x)
        share = (grads[0] / total[..., None]).gather(1, place)  # of each token, per weight
        dweight = None
        if ctx.needs_input_grad[1]:
            dweight = ((x - y.gather(1, place)) * share).sum(2).to(weight.dtype)
        return (share * weight[..., None]).to(x.dtype), dweight, None, None


@triton.jit(do_not_specialize=("length",))
def means(
    x_ptr, weight_ptr, ends_ptr, y_ptr, total_ptr, length, D: tl.constexpr, TD: tl.constexpr, TOKENS: tl.constexpr
):
    """The mean of a window, and its total weight (at least a number too small to matter)."""
    window, clip, count = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.num_programs(0)
    columns, tokens = tl.program_id(2) * TD + tl.arange(0, TD), tl.arange(0, TOKENS)
    place = clip * count + window
    end = tl.load(ends_ptr + place).to(tl.int32)
    start = tl.load(ends_ptr + place - 1, window > 0, 0).to(tl.int32)
    summed, total = tl.zeros((TD,), tl.float32), tl.zeros((), tl.float32)
    for first in range(start, end, TOKENS):
        rows = first + tokens
        weight = tl.load(weight_ptr + clip * length + rows, rows < end, 0.0).to(tl.float32)
        inside = (rows < end)[:, None] & (columns < D)[None, :]
        x = tl.load(x_ptr + (clip * length + rows)[:, None] * D + columns[None, :], inside, 0.0).to(tl.float32)
        summed += tl.sum(x * weight[:, None], 0)
        total += tl.sum(weight, 0)
    total = tl.where(total < 1.2e-38, 1.2e-38, total)  # NaN stays
    tl.store(y_ptr + place * D + columns, (summed / total).to(y_ptr.dtype.element_ty), columns < D)
    tl.store(total_ptr + place, total)
