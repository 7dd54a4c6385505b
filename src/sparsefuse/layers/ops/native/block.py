"""Pre-norm blocks, one behind another, by `block.cpp`: forward and backward."""

from array import array
from collections.abc import Sequence
from ctypes import CDLL
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.ops.native.attention import Options, fits, refuse_graph
from sparsefuse.layers.ops.native.building import library
from sparsefuse.layers.ops.native.call import bits, line
from sparsefuse.layers.ops.weights import BlockWeights

WIDEST = 128
"""Channels of a token, and in the MLP, up to which this was measured."""
WEIGHTS = len(BlockWeights._fields)


def supports(x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str) -> bool:
    """Whether `blocks` can compute this call."""
    if pattern == "fixed" or mask.requires_grad or x.dtype != torch.float32:
        return False
    dim, hidden = stack[0].sizes
    if x.shape[2] != dim or max(dim, hidden) > WIDEST or not fits(dim // num_heads):
        return False
    if any(weights.sizes != (dim, hidden) for weights in stack):
        return False
    for weights in stack:
        for w in weights[: 10 if hidden else 4]:
            if w is None or type(w) not in (nn.Parameter, Tensor) or w.dtype != torch.float32 or not w.is_contiguous():
                return False
    return library("block", dim // num_heads, dim, hidden) is not None


def blocks(
    x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str, span: int, eps: float
) -> Tensor:
    """See `ops.blocks`."""
    options, (_, hidden) = Options.of(mask, num_heads, pattern, span), stack[0].sizes
    weights = [weight for each in stack for weight in each]
    if torch.is_grad_enabled():
        return _Blocks.apply(x.contiguous(), options, eps, hidden, *weights)  # pyright: ignore[reportReturnType]
    return _forward(x.contiguous(), options, eps, hidden, weights, learning=False)[0]


class _Blocks(torch.autograd.Function):
    """Tokens (B, N, D) and all `BlockWeights`, flat -> (B, N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, options: Options, eps: float, hidden: int, *weights: Tensor | None) -> Tensor:
        y, made = _forward(x, options, eps, hidden, weights, learning=any(ctx.needs_input_grad))
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
        call = _Call.of(x, options, eps, hidden, None, weights, learning=True, back=(grad, dx, slopes))
        flow = x.new_empty(_at_a_time(x), call.size("block_flow"))
        call.run("block_backward", made, flow)
        return dx, None, None, None, *slopes


def _forward(
    x: Tensor, options: Options, eps: float, hidden: int, weights: Sequence[Tensor | None], *, learning: bool
) -> tuple[Tensor, Tensor]:
    """What comes out, and what samples leave for the way back: (B, blocks, as much as that is)."""
    y = torch.empty_like(x)
    call = _Call.of(x, options, eps, hidden, y, weights, learning=learning)
    places = (len(x), call.depth) if learning else (_at_a_time(x),)
    made = x.new_empty(*places, call.size("block_made"))
    call.run("block_forward", made)
    return y, made


class _Call(NamedTuple):
    """A call of block.cpp."""

    built: CDLL
    depth: int
    line: "array[int]"
    """the fields of `BlockCall`, in its order; the first two are for room that the call needs"""
    weights: "array[int]"
    """where they are, as `Tensors` in block.cpp, of each block; so for their slopes"""
    slopes: "array[int]"

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
        learning: bool,
        back: tuple[Tensor | None, Tensor | None, Sequence[Tensor | None]] = (None, None, ()),
    ) -> "_Call":
        """`back`: what flows to y, what flows to x, the slopes of the weights."""
        (samples, length, dim), heads = x.shape, options.heads
        share, far_weights = (None, None) if options.far is None else options.far
        far, shared = (0, 0) if share is None else (share.shape[1], len(share) == 1)
        depth = len(weights) // WEIGHTS
        sizes = [depth, samples, length, heads, far, options.span, torch.get_num_threads()]
        logs = map(_at, [options.weights, far_weights, share])
        grad, dx, slopes = back
        places, slope_places = array("q", map(_at, weights)), array("q", map(_at, slopes))
        numbers = [0, 0, learning, options.kind, *sizes, bits(eps), *logs, shared, x.data_ptr(), _at(y)]
        numbers += [places.buffer_info()[0], _at(grad), _at(dx), slope_places.buffer_info()[0]]
        built = library("block", dim // heads, dim, hidden)
        assert built is not None
        return cls(built, depth, line(built, numbers), places, slope_places)

    def size(self, name: str) -> int:
        """Floats that each sample or thread needs."""
        return getattr(self.built, name)(self.line.buffer_info()[0])

    def run(self, name: str, *room: Tensor) -> None:
        """The call, with that room."""
        for i, tensor in enumerate(room):
            self.line[i] = tensor.data_ptr()
        getattr(self.built, name)(self.line.buffer_info()[0])


def _at_a_time(x: Tensor) -> int:
    """Samples that threads have in hand."""
    return min(len(x), torch.get_num_threads())


def _at(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
