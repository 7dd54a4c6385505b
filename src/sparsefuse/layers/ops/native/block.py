"""A stack of pre-norm blocks by `block.h`: forward and backward."""

import functools
from array import array
from collections.abc import Sequence
from ctypes import CDLL
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.ops.native.arguments import BlockArguments, run
from sparsefuse.layers.ops.native.attention import MAX_HEAD_DIM, KeyPattern
from sparsefuse.layers.ops.native.library import library
from sparsefuse.layers.ops.tracing import refuse_graph
from sparsefuse.layers.ops.weights import BlockWeights

MAX_DIM = 128
"""Channels of a token, and in the MLP, up to which this was measured."""
WEIGHTS = len(BlockWeights._fields)


def supports(x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str) -> bool:
    """Whether `blocks` can compute this call."""
    if pattern == "fixed" or mask.requires_grad or x.dtype != torch.float32:
        return False
    dim, hidden = stack[0].sizes
    if x.shape[2] != dim or max(dim, hidden) > MAX_DIM or dim > MAX_HEAD_DIM * num_heads:
        return False
    if any(weights.sizes != (dim, hidden) for weights in stack):
        return False
    for weights in stack:
        for w in weights[: 10 if hidden else 4]:
            if w is None or type(w) not in (nn.Parameter, Tensor) or w.dtype != torch.float32 or not w.is_contiguous():
                return False
    return True


def blocks(
    x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str, span: int, eps: float
) -> Tensor:
    """See `ops.blocks`."""
    keys, (_, hidden) = KeyPattern.of(mask, num_heads, pattern, span), stack[0].sizes
    weights = [weight for each in stack for weight in each]
    if torch.is_grad_enabled():
        return _Blocks.apply(x.contiguous(), keys, eps, hidden, *weights)  # pyright: ignore[reportReturnType]
    return _forward(x.contiguous(), keys, eps, hidden, weights, needs_grad=False)[0]


class _Blocks(torch.autograd.Function):
    """Tokens (B, N, D) and all `BlockWeights`, flat -> (B, N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: KeyPattern, eps: float, hidden: int, *weights: Tensor | None) -> Tensor:
        y, activations = _forward(x, keys, eps, hidden, weights, needs_grad=any(ctx.needs_input_grad))
        ctx.save_for_backward(x, activations, *weights)
        ctx.rest = keys, eps, hidden
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph("native")
        x, activations, *weights = ctx.saved_tensors
        keys, eps, hidden = ctx.rest
        grad_out, dx = grads[0].contiguous(), torch.empty_like(x)
        dweights = [None if w is None else torch.empty_like(w) for w in weights]
        call = _Call.of(x, keys, eps, hidden, None, weights, needs_grad=True, gradients=(grad_out, dx, dweights))
        call.run("blocks_backward", activations, x.new_empty(_num_buffers(x), call.buffer_sizes()[1]))
        return dx, None, None, None, *dweights


def _forward(
    x: Tensor, keys: KeyPattern, eps: float, hidden: int, weights: Sequence[Tensor | None], *, needs_grad: bool
) -> tuple[Tensor, Tensor]:
    """The output, and the activations that are saved for backward: (B, depth, floats per sample and block)."""
    y = torch.empty_like(x)
    call = _Call.of(x, keys, eps, hidden, y, weights, needs_grad=needs_grad)
    shape = (len(x), call.arguments.depth) if needs_grad else (_num_buffers(x),)
    activations = x.new_empty(*shape, call.buffer_sizes()[0])
    call.run("blocks_forward", activations)
    return y, activations


class _Call(NamedTuple):
    """A call of the library; `run` adds the addresses of its buffers."""

    arguments: BlockArguments
    weights: "array[int]"
    """addresses of each block's weights, as `BlockWeights` in arguments.h; `dweights`: those of their gradients"""
    dweights: "array[int]"

    @classmethod
    def of(
        cls,
        x: Tensor,
        keys: KeyPattern,
        eps: float,
        hidden: int,
        y: Tensor | None,
        weights: Sequence[Tensor | None],
        *,
        needs_grad: bool,
        gradients: tuple[Tensor | None, Tensor | None, Sequence[Tensor | None]] = (None, None, ()),
    ) -> "_Call":
        """`gradients`: those of y, of x, and of the weights."""
        (samples, length, dim), heads = x.shape, keys.heads
        share, far_weights = (None, None) if keys.far is None else keys.far
        grad_out, dx, dweights = gradients
        weights_at, dweights_at = array("q", map(_address, weights)), array("q", map(_address, dweights))
        arguments = BlockArguments(
            kind=keys.kind,
            depth=len(weights) // WEIGHTS,
            samples=samples,
            length=length,
            dim=dim,
            heads=heads,
            hidden=hidden,
            far=0 if share is None else share.shape[1],
            span=keys.span,
            threads=torch.get_num_threads(),
            saving=needs_grad,
            same_far=share is not None and len(share) == 1,
            eps=eps,
            log_weights=_address(keys.weights),
            far_log_weights=_address(far_weights),
            far_share=_address(share),
            activations=0,
            gradients=0,
            x=x.data_ptr(),
            y=_address(y),
            weights=weights_at.buffer_info()[0],
            grad_out=_address(grad_out),
            dx=_address(dx),
            dweights=dweights_at.buffer_info()[0],
        )
        return cls(arguments, weights_at, dweights_at)

    def buffer_sizes(self) -> tuple[int, int]:
        """Floats per sample or thread, for activations and for gradients."""
        a = self.arguments
        return _buffer_sizes(a.depth, a.length, a.dim, a.heads, a.hidden, a.far, a.saving)

    def run(self, name: str, activations: Tensor, gradients: Tensor | None = None) -> None:
        """Calls a function with these buffers."""
        arguments = self.arguments._replace(activations=_address(activations), gradients=_address(gradients))
        run(_library(), name, arguments.packed())


@functools.lru_cache(maxsize=256)
def _buffer_sizes(depth: int, length: int, dim: int, heads: int, hidden: int, far: int, saving: int) -> tuple[int, int]:
    floats = array("q", [0, 0])
    sizes = {"length": length, "dim": dim, "heads": heads, "hidden": hidden, "far": far, "saving": saving}
    packed = BlockArguments(**dict.fromkeys(BlockArguments._fields, 0) | sizes | {"depth": depth}).packed()
    run(_library(), "block_room", packed, floats.buffer_info()[0])
    return floats[0], floats[1]


def _library() -> CDLL:
    native = library()
    assert native is not None
    return native


def _num_buffers(x: Tensor) -> int:
    """One per thread, and no more than samples."""
    return min(len(x), torch.get_num_threads())


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
