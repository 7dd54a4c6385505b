"""Features to tokens by `embed.cpp`: one projection, CLS and a table of positions; with its way back.

Gradients of gradients, of the features, and torch.func, are not known.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsefuse.layers.heads import heard
from sparsefuse.layers.ops.native import block
from sparsefuse.layers.ops.native.attention import refuse_graph
from sparsefuse.layers.ops.native.building import library
from sparsefuse.layers.ops.native.call import line
from sparsefuse.layers.ops.tracing import eager

WIDEST = 384
"""Features up to which this is faster than PyTorch's product."""


def embedded(x: Tensor, project: nn.Module, cls: Tensor, position: Tensor) -> Tensor | None:
    """Features (B, N, F), CLS (D) and positions (at least 1 + N, D) -> (B, 1 + N, D); None if it cannot run here."""
    if not isinstance(project, nn.Linear) or heard(project):
        return None
    weights = [project.weight, project.bias, cls, position]
    known = eager(x) and not x.requires_grad and x.shape[2] <= WIDEST
    if not known or x.shape[1] == 0 or len(cls) > block.WIDEST or x.shape[1] >= len(position):
        return None
    if any(t.dtype != torch.float32 or not t.is_contiguous() for t in [x, *weights]):
        return None
    if library("embed", len(cls)) is None:
        return None
    return _Embedded.apply(x, *weights)  # pyright: ignore[reportReturnType]


class _Embedded(torch.autograd.Function):
    """Features (B, N, F), weights of the projection, CLS and positions -> (B, 1 + N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        y = x.new_empty(x.shape[0], x.shape[1] + 1, weights[0].shape[0])
        _run("embed_forward", x, weights, [y, None, *[None] * len(weights)])
        ctx.save_for_backward(x, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph()
        x, *weights = ctx.saved_tensors
        slopes = [torch.empty_like(weight) for weight in weights]
        _run("embed_backward", x, weights, [None, grads[0].contiguous(), *slopes])
        return None, *slopes


def _run(name: str, x: Tensor, weights: Sequence[Tensor], others: Sequence[Tensor | None]) -> None:
    """`others`: what comes out; then what flows back to it, and the slopes of the weights."""
    y, *back = (0 if tensor is None else tensor.data_ptr() for tensor in others)
    sizes = [*x.shape, len(weights[-1]), torch.get_num_threads()]
    built = library("embed", len(weights[0]))
    assert built is not None
    numbers = line(built, [*sizes, x.data_ptr(), y, *(weight.data_ptr() for weight in weights), *back])
    getattr(built, name)(numbers.buffer_info()[0])
