"""Dense attention among few tokens on a processor, from tokens to tokens, where `native` is not to be had.

As `windowed`, but that all scores are formed at once and kept for the way back. Gradients of gradients, of the mask,
and torch.func, are not known.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sparsefuse.layers.heads import Projection
from sparsefuse.layers.ops.tracing import full
from sparsefuse.layers.powers import MASKED, divide, product, relative, scale, trusted, weigh


def few(x: Tensor, mask: Tensor, qkv: nn.Linear, out: nn.Linear, num_heads: int) -> Tensor:
    """Dense self-attention of x (B, N, D), mask (B, N) -> (B, N, D); `qkv` projects to queries, keys and values."""
    weights = None if full(mask) else relative(mask, x.dtype)
    return _Few.apply(x, qkv.weight, qkv.bias, out.weight, out.bias, weights, num_heads)  # pyright: ignore[reportReturnType]


class _Few(torch.autograd.Function):
    """Tokens (B, N, D), both projections, weights (B, N) or None if all are 1 -> (B, N, D).

    Inside, tokens lie last: C channels of each part, H B sequences, N.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        weights: Tensor | None,
        heads: int,
    ) -> Tensor:
        (samples, length, width), rows = x.shape, x.flatten(0, 1)
        projection = Projection.of(weight, bias, out_weight, heads)
        tokens = x.new_empty(3 * width // heads + 1, heads * samples, length)
        projection.project(rows, tokens[:-1].view(3 * width, -1))
        tokens[-1] = 1
        if weights is not None:
            weigh(tokens[2 * width // heads :], weights)
        read, powers = _read(tokens, large=False)
        there = x.new_ones(1, dtype=torch.bool) if weights is None else weights.amax(1) > 0
        if not trusted(read[-1], there):
            read, powers = _read(tokens, large=True)
        ctx.save_for_backward(rows, tokens, read, powers, weights, *projection[:3])
        ctx.heads = heads
        return torch.addmm(out_bias, read[:-1].view(width, -1).T, projection.out).view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, tokens, read, powers, weights, *three = ctx.saved_tensors
        projection = Projection(three[0], three[1], three[2], ctx.heads)
        grad, width = grads[0].flatten(0, 1), rows.shape[1]
        toward = projection.flowing(grad, read).mul_(read[-1]).transpose(0, 1)
        q, k, values = _parts(tokens)
        steep, factor = (toward.mT @ values).mul_(powers), q.shape[1] ** -0.5  # slopes of the scores
        slopes = torch.empty_like(tokens[:-1])
        dq, dk, dv = (part.transpose(0, 1) for part in slopes.chunk(3))
        dq.copy_(product(k, steep.mT, factor))
        dk.copy_(product(q, steep, factor))
        dv.copy_(toward[:, :-1] @ powers)
        if weights is not None:
            weigh(slopes[2 * len(slopes) // 3 :], weights)
        slopes = slopes.view(3 * width, -1)
        d_weights = projection.slopes(slopes @ rows, slopes.sum(1), read[:-1].view(width, -1) @ grad)
        return (slopes.T @ projection.weight).view(grads[0].shape), *d_weights, grad.sum(0), None, None


def _parts(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(3 C + 1, H B, N) -> queries and keys (H B, C, N), values with their weights (H B, C + 1, N)."""
    channels = len(tokens) // 3
    q, k, values = tokens.split([channels, channels, channels + 1])
    return q.transpose(0, 1), k.transpose(0, 1), values.transpose(0, 1)


def _read(tokens: Tensor, *, large: bool) -> tuple[Tensor, Tensor]:
    """What is read (C + 1, H B, N), last one over the sum of powers, and the powers (H B, N, N).

    `large` scores have their maximum taken off.
    """
    q, k, values = _parts(tokens)
    powers = product(q.mT, k, scale(q.shape[1]))
    if large:
        powers += ((values[:, -1:] == 0) * MASKED).to(powers.dtype)
        powers -= powers.amax(2, keepdim=True)
    sums = tokens.new_empty(values.shape[1], *tokens.shape[1:])
    sums.transpose(0, 1).copy_(values @ powers.exp2_().mT)
    divide(sums, 0, out=sums[:-1], share=sums[-1:])
    return sums, powers
