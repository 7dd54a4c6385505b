"""Pre-norm blocks, one behind another, by `block.h`: forward and backward."""

import functools
from array import array
from collections.abc import Sequence
from ctypes import CDLL
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.ops.native.arguments import BlockArguments, run
from sparsefuse.layers.ops.native.attention import WIDEST as WIDEST_HEAD
from sparsefuse.layers.ops.native.attention import Options, refuse_graph
from sparsefuse.layers.ops.native.library import library
from sparsefuse.layers.ops.weights import BlockWeights

WIDEST = 128
"""Channels of a token, and in the MLP, up to which this was measured."""
WEIGHTS = len(BlockWeights._fields)


def supports(x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str) -> bool:
    """Whether `blocks` can compute this call."""
    if pattern == "fixed" or mask.requires_grad or x.dtype != torch.float32:
        return False
    dim, hidden = stack[0].sizes
    if x.shape[2] != dim or max(dim, hidden) > WIDEST or dim > WIDEST_HEAD * num_heads:
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
    options, (_, hidden) = Options.of(mask, num_heads, pattern, span), stack[0].sizes
    weights = [weight for each in stack for weight in each]
    if torch.is_grad_enabled():
        return _Blocks.apply(x.contiguous(), options, eps, hidden, *weights)  # pyright: ignore[reportReturnType]
    return _forward(x.contiguous(), options, eps, hidden, weights, saving=False)[0]


class _Blocks(torch.autograd.Function):
    """Tokens (B, N, D) and all `BlockWeights`, flat -> (B, N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, options: Options, eps: float, hidden: int, *weights: Tensor | None) -> Tensor:
        y, made = _forward(x, options, eps, hidden, weights, saving=any(ctx.needs_input_grad))
        ctx.save_for_backward(x, made, *weights)
        ctx.rest = options, eps, hidden
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph()
        x, made, *weights = ctx.saved_tensors
        options, eps, hidden = ctx.rest
        grad, dx = grads[0].contiguous(), torch.empty_like(x)
        slopes = [None if w is None else torch.empty_like(w) for w in weights]
        call = _Call.of(x, options, eps, hidden, None, weights, saving=True, back=(grad, dx, slopes))
        call.run("blocks_backward", made, x.new_empty(_at_a_time(x), call.room()[1]))
        return dx, None, None, None, *slopes


def _forward(
    x: Tensor, options: Options, eps: float, hidden: int, weights: Sequence[Tensor | None], *, saving: bool
) -> tuple[Tensor, Tensor]:
    """What comes out, and what samples leave for the way back: (B, blocks, as much as that is)."""
    y = torch.empty_like(x)
    call = _Call.of(x, options, eps, hidden, y, weights, saving=saving)
    places = (len(x), call.arguments.depth) if saving else (_at_a_time(x),)
    made = x.new_empty(*places, call.room()[0])
    call.run("blocks_forward", made)
    return y, made


class _Call(NamedTuple):
    """A call of the library; `room` comes later."""

    arguments: BlockArguments
    weights: "array[int]"
    """where they are, as `BlockWeights` in arguments.h, of each block; so for their gradients"""
    dweights: "array[int]"

    @classmethod
    def of(
        cls,
        x: Tensor,
        options: Options,
        eps: float,
        hidden: int,
        y: Tensor | None,
        weights: Sequence[Tensor | None],
        *,
        saving: bool,
        back: tuple[Tensor | None, Tensor | None, Sequence[Tensor | None]] = (None, None, ()),
    ) -> "_Call":
        """`back`: the gradients of y, of x, and of the weights."""
        (samples, length, dim), heads = x.shape, options.heads
        share, far_weights = (None, None) if options.far is None else options.far
        grad, dx, gradients = back
        places, gradient_places = array("q", map(_at, weights)), array("q", map(_at, gradients))
        arguments = BlockArguments(
            kind=options.kind,
            depth=len(weights) // WEIGHTS,
            samples=samples,
            length=length,
            dim=dim,
            heads=heads,
            hidden=hidden,
            far=0 if share is None else share.shape[1],
            span=options.span,
            threads=torch.get_num_threads(),
            saving=saving,
            same_far=share is not None and len(share) == 1,
            eps=eps,
            log_weights=_at(options.weights),
            far_log_weights=_at(far_weights),
            far_share=_at(share),
            activations=0,
            gradients=0,
            x=x.data_ptr(),
            y=_at(y),
            weights=places.buffer_info()[0],
            grad_out=_at(grad),
            dx=_at(dx),
            dweights=gradient_places.buffer_info()[0],
        )
        return cls(arguments, places, gradient_places)

    def room(self) -> tuple[int, int]:
        """Floats that each sample or thread needs, for activations and for gradients."""
        a = self.arguments
        return _room(a.depth, a.length, a.dim, a.heads, a.hidden, a.far, a.saving)

    def run(self, name: str, activations: Tensor, gradients: Tensor | None = None) -> None:
        """The call, with that room."""
        arguments = self.arguments._replace(activations=_at(activations), gradients=_at(gradients))
        run(_library(), name, arguments.packed())


@functools.lru_cache(maxsize=256)
def _room(depth: int, length: int, dim: int, heads: int, hidden: int, far: int, saving: int) -> tuple[int, int]:
    room = array("q", [0, 0])
    sizes = {"length": length, "dim": dim, "heads": heads, "hidden": hidden, "far": far, "saving": saving}
    packed = BlockArguments(**dict.fromkeys(BlockArguments._fields, 0) | sizes | {"depth": depth}).packed()
    run(_library(), "block_room", packed, room.buffer_info()[0])
    return room[0], room[1]


def _library() -> CDLL:
    found = library()
    assert found is not None
    return found


def _at_a_time(x: Tensor) -> int:
    """Samples that threads have in hand."""
    return min(len(x), torch.get_num_threads())


def _at(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
