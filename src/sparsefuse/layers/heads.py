"""Linear projections to heads: tokens in, one part of each head's channels per part out."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


def check_heads(dim: int, num_heads: int) -> None:
    """Raises ValueError if the width cannot be shared among the heads."""
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads; got dim={dim}, num_heads={num_heads}")


def heads(x: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """(B, N, parts * D) -> `parts` tensors (B, H, N, D/H)."""
    return x.unflatten(-1, (parts, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def by_channel(weight: Tensor, parts: int, num_heads: int) -> Tensor:
    """Rows (parts * D, ...) by part, channel and then head: tokens projected so need no copy to lie last."""
    return weight.unflatten(0, (parts, num_heads, -1)).transpose(1, 2).flatten(0, 2)


def by_head(weight: Tensor, parts: int, num_heads: int) -> Tensor:
    """Rows as they were before `by_channel`."""
    return weight.unflatten(0, (parts, -1, num_heads)).transpose(1, 2).flatten(0, 2)


def heard(*modules: nn.Module) -> bool:
    """Whether anybody listens to what the modules say: then they must be called."""
    return any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in modules)


class Projection(NamedTuple):
    """The two projections of attention, by channel, for operations that do all between tokens and tokens."""

    weight: Tensor
    """(3 D, D) to queries, keys and values"""
    bias: Tensor
    """(3 D, 1)"""
    out: Tensor
    """(D, D), transposed, of what was read"""
    heads: int

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, out: Tensor, heads: int) -> "Projection":
        """From weights as `nn.Linear` has them."""
        weight, bias = by_channel(weight, 3, heads), by_channel(bias, 3, heads)
        return cls(weight, bias[:, None], by_channel(out.T, 1, heads), heads)

    def project(self, rows: Tensor, into: Tensor, skip: int = 0) -> None:
        """Rows (n, D) to (3 D, n), but for the first `skip` of them."""
        torch.addmm(self.bias[skip:], self.weight[skip:], rows.T, out=into)

    def flowing(self, grad: Tensor, read: Tensor) -> Tensor:
        """What flows back to `read` (C + 1, H B, N) by what flows back to rows (n, D) made of all but its last channel.

        It was divided by its last channel, whose slope is last.
        """
        found = torch.empty_like(read)
        torch.mm(self.out, grad.T, out=found[:-1].view(len(self.out), -1))
        torch.sum(found[:-1] * read[:-1], 0, out=found[-1]).neg_()
        return found

    def slopes(self, weight: Tensor, bias: Tensor, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Slopes of these weights (the bias's flat) as slopes of those they were made of."""
        return by_head(weight, 3, self.heads), by_head(bias, 3, self.heads), by_head(out, 1, self.heads).T
