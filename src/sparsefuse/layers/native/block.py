"""A whole pre-norm block by `block.cpp`: tokens in, tokens out, with its way back.

Gradients of gradients, of the mask, and torch.func, are not known.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.heads import heard
from sparsefuse.layers.native import attention
from sparsefuse.layers.native.attention import Options, given, kept_for, parts_of, refuse_graph, whole
from sparsefuse.layers.native.building import library
from sparsefuse.layers.native.call import NO_WAY_BACK, NOWHERE, back, bits, run

WIDEST = 128
"""Channels of a token, and in the MLP, up to which this was measured."""


class Parts(NamedTuple):
    """What a block is made of; without an MLP, the last three are None."""

    qkv: nn.Linear
    out: nn.Linear
    norm: nn.LayerNorm | None = None
    """the MLP's"""
    first: nn.Linear | None = None
    second: nn.Linear | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Channels of a token, and in the MLP."""
        return self.out.out_features, 0 if self.first is None else self.first.out_features

    def weights(self) -> list[Tensor | None]:
        """In the order of `Tensors` in block.cpp."""
        return [weight for part in self for weight in ((None, None) if part is None else (part.weight, part.bias))]


def possible(x: Tensor, mask: Tensor, heads: int, parts: Parts, *passed_over: nn.Module) -> bool:
    """Whether the block can run here; nobody may listen to modules that it passes over."""
    dim, hidden = parts.sizes
    if x.shape[2] != dim or max(dim, hidden) > WIDEST or not attention.possible(x, mask, dim // heads):
        return False
    listening = heard(*passed_over, *(part for part in parts if part is not None))
    return not listening and library(dim // heads, dim, hidden) is not None


def passed(x: Tensor, parts: Parts, options: Options, eps: float) -> Tensor | None:
    """x (B, N, D) through the block -> (B, N, D); None if the weights are not as they have to be."""
    weights = parts.weights()
    there = weights[: None if parts.sizes[1] else 4]
    if any(w is None or w.dtype != x.dtype or not w.is_contiguous() for w in there):
        return None
    if torch.is_grad_enabled():
        return _Block.apply(x.contiguous(), options, eps, parts.sizes[1], *weights)  # pyright: ignore[reportReturnType]
    return _forward(x.contiguous(), options, eps, parts.sizes[1], weights, learning=False)[0]


def _forward(
    x: Tensor, options: Options, eps: float, hidden: int, weights: Sequence[Tensor | None], *, learning: bool
) -> tuple[Tensor, Tensor | None, "_Made"]:
    """What comes out, and what the way back needs."""
    samples, length, dim = x.shape
    kept_mlp = learning and hidden > 0
    made = _Made(
        rows=x.new_empty(samples, length, 3 * dim),
        read=torch.empty_like(x),
        y=torch.empty_like(x),
        mid=torch.empty_like(x) if kept_mlp else None,
        hidden=x.new_empty(samples, length, hidden) if kept_mlp else None,
        far=None if options.far is None else x.new_zeros(samples, options.far.share.shape[1], 2 * dim),
    )
    kept = kept_for(learning or options.unfinished, x, options.heads)
    call = given(made.rows, made.far, options)
    line = call.numbers(whole(made.read, options), kept) + NO_WAY_BACK + _numbers(x, made, options, eps, weights)
    line += [0] * (5 + len(weights))  # what only the way back has
    run("block_forward", call.width, line, dim, hidden)
    assert made.y is not None
    return made.y, kept, made._replace(y=None)


class _Block(torch.autograd.Function):
    """Tokens (B, N, D) and the weights of `Parts` -> (B, N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, options: Options, eps: float, hidden: int, *weights: Tensor | None) -> Tensor:
        y, kept, made = _forward(x, options, eps, hidden, weights, learning=any(ctx.needs_input_grad))
        ctx.save_for_backward(x, kept, *made, *weights)
        ctx.rest = options, eps, hidden
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph()
        x, kept, *saved = ctx.saved_tensors
        options, eps, hidden = ctx.rest
        made, weights = _Made(*saved[: len(_Made._fields)]), saved[len(_Made._fields) :]
        dx, d_read, d_rows = torch.empty_like(x), torch.empty_like(x), torch.empty_like(made.rows)
        d_far = None if made.far is None else torch.empty_like(made.far)
        far_places = [NOWHERE] * 2 if d_far is None else parts_of(d_far, 2, options)
        there = back(whole(d_read, options), parts_of(d_rows, 3, options) + far_places)
        grad, slopes = grads[0].contiguous(), [None if w is None else torch.empty_like(w) for w in weights]
        call = given(made.rows, made.far, options)
        line = call.numbers(whole(made.read, options), kept) + there + _numbers(x, made, options, eps, weights)
        line += map(_at, [grad, dx, d_rows, d_read, d_far, *slopes])
        run("block_backward", call.width, line, x.shape[2], hidden)
        return dx, None, None, None, *slopes


class _Made(NamedTuple):
    """What a block makes on its way."""

    rows: Tensor
    """(B, N, 3 D) queries, keys, values"""
    read: Tensor
    """(B, N, D)"""
    y: Tensor | None
    """(B, N, D)"""
    mid: Tensor | None
    """(B, N, D), after attention; like the next, only for the way back and with an MLP"""
    hidden: Tensor | None
    """(B, N, H)"""
    far: Tensor | None
    """(B, F, 2 D) keys and values that all tokens see"""


def _numbers(x: Tensor, made: _Made, options: Options, eps: float, weights: Iterable[Tensor | None]) -> list[int]:
    """The part of the line that both ways read."""
    share = None if options.far is None else options.far.share
    shared = share is not None and len(share) == 1
    return [bits(eps), *map(_at, [x, *made, share]), int(shared), *map(_at, weights)]


def _at(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
