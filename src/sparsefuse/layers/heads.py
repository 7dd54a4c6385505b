"""Linear projections to heads: tokens in, one part of each head's channels per part out."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.layers.powers import scale


def check_heads(dim: int, num_heads: int) -> None:
    """Raises ValueError if the width cannot be shared among the heads."""
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads; got dim={dim}, num_heads={num_heads}")


def heads(x: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """(B, N, parts * D) -> `parts` tensors (B, H, N, D/H)."""
    return x.unflatten(-1, (parts, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def by_channel(weight: Tensor, parts: int, num_heads: int) -> Tensor:
    """Rows (parts * D, any) by part, channel and then head: tokens projected so need no copy to lie last. A copy."""
    rows = weight.unflatten(0, (parts, num_heads, -1)).transpose(1, 2)
    return rows.clone(memory_format=torch.contiguous_format).flatten(0, 2)


def by_head(weight: Tensor, parts: int, num_heads: int) -> Tensor:
    """Rows as they were before `by_channel`."""
    return weight.unflatten(0, (parts, -1, num_heads)).transpose(1, 2).flatten(0, 2)


def heard(*modules: nn.Module) -> bool:
    """Whether anybody listens to what the modules say: then they must be called."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


class Projection(NamedTuple):
    """An attention layer's two projections by channel, and scores of its queries and keys as powers of two."""

    inward: Tensor
    """(3 D, D + 1) to queries, keys and values, the bias last"""
    outward: Tensor
    """(D, D), transposed, of what was read"""
    heads: int

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, out_weight: Tensor, heads: int) -> "Projection":
        """From weights as `nn.Linear` has them, queries, keys and values in one."""
        inward = by_channel(torch.cat([weight, bias[:, None]], 1), 3, heads)
        return cls(_scaled(inward, heads), by_channel(out_weight.T, 1, heads), heads)

    def project(self, rows: Tensor, out: Tensor, skip: int = 0) -> None:
        """Rows (n, D) to (3 D, n) or, without the first `skip`, less."""
        weight, bias = self.inward[skip:].split([rows.shape[1], 1], 1)
        torch.addmm(bias, weight, rows.T, out=out)

    def back(self, slopes: Tensor, skip: int = 0) -> Tensor:
        """Slopes of what was projected (3 D, n) to those of the rows (n, D)."""
        return slopes.T @ (self.inward[skip:, :-1] * self._steepness()[skip:])

    def slopes(self, inward: Tensor, outward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Slopes of both by those of weight, bias and outer weight."""
        inward = by_head(_scaled(inward * self._steepness(), self.heads), 3, self.heads)
        return inward[:, :-1], inward[:, -1], by_head(outward, 1, self.heads).T

    def _steepness(self) -> Tensor:
        """(3 D, 1) of powers of two by queries and keys, and of values."""
        found = self.inward.new_full((len(self.inward), 1), math.log(2))
        found[-len(self.outward) :] = 1
        return found


def slopes_of_weights(slopes: Tensor, rows: Tensor) -> Tensor:
    """Slopes (any, n) of what rows (n, D) were projected to -> those of weight and bias (any, D + 1)."""
    return torch.cat([slopes @ rows, slopes.sum(1, keepdim=True)], 1)


def _scaled(inward: Tensor, heads: int) -> Tensor:
    """The queries' part scaled, so that scores are powers of two."""
    width = len(inward) // 3
    inward[:width] *= scale(width // heads)
    return inward
