"""The embedding of features by `embed.h`: a projection, CLS and positions; forward and backward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsefuse.layers.ops.native import block
from sparsefuse.layers.ops.native.arguments import EmbedArguments, run
from sparsefuse.layers.ops.native.library import library
from sparsefuse.layers.ops.tracing import refuse_graph

MAX_FEATURES = 384
"""Features up to which this is faster than PyTorch's product."""


def supports(x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor) -> bool:
    """Whether `embedding` can compute this call."""
    if x.requires_grad or not 0 < x.shape[1] < len(position) or x.shape[2] > MAX_FEATURES or len(cls) > block.MAX_DIM:
        return False
    weights = [weight, bias, cls, position]
    if not all(type(w) in (nn.Parameter, Tensor) and w.is_contiguous() for w in weights):
        return False
    return all(t.dtype == torch.float32 for t in [x, *weights])


def embedding(x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor) -> Tensor:
    """See `ops.embedding`."""
    return _Embedded.apply(x.contiguous(), weight, bias, cls, position)  # pyright: ignore[reportReturnType]


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
        refuse_graph("native")
        (grad_out,), (x, *weights) = grads, ctx.saved_tensors
        dweights = [torch.empty_like(weight) for weight in weights]
        _run("embed_backward", x, weights, [None, grad_out.contiguous(), *dweights])
        return None, *dweights


def _run(name: str, x: Tensor, weights: Sequence[Tensor], outputs: Sequence[Tensor | None]) -> None:
    """`outputs`: y, grad_out, and the gradients of the weights."""
    y, *gradients = (0 if tensor is None else tensor.data_ptr() for tensor in outputs)
    sizes = [*x.shape, len(weights[0]), len(weights[-1]), torch.get_num_threads()]
    native = library()
    assert native is not None
    addresses = [x.data_ptr(), y, *(weight.data_ptr() for weight in weights), *gradients]
    run(native, name, EmbedArguments(*sizes, *addresses).packed())
