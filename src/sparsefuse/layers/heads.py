"""Linear projections to heads: tokens in, one part of each head's channels per part out."""

import torch
from torch import Tensor, nn


def check_heads(dim: int, num_heads: int) -> None:
    """Raises ValueError if the width cannot be shared among the heads."""
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads; got dim={dim}, num_heads={num_heads}")


def heads(x: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """(B, N, parts * D) -> `parts` tensors (B, H, N, D/H)."""
    return x.unflatten(-1, (parts, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


class ByChannel:
    """A projection to `parts` of D, by channel and then head: tokens lie last, and products of them need no copy.

    Queries, the first part, are multiplied by `scale`.
    """

    def __init__(self, linear: nn.Linear, parts: int, num_heads: int, *, scale: float = 1.0):
        self.shape = (parts, -1, num_heads)
        shape = (parts, num_heads, linear.out_features // (parts * num_heads), -1)
        weight, bias = (t.view(shape).transpose(1, 2) for t in (linear.weight, linear.bias))
        if scale != 1:
            factor = bias.new_ones(parts, 1, 1, 1)
            factor[0] = scale
            weight, bias = weight * factor, bias * factor
        self.weight, self.bias = weight.flatten(0, 2), bias.flatten(0, 2)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (parts, D/H, H, B, N)."""
        return torch.addmm(self.bias, self.weight, x.flatten(0, 1).T).view(*self.shape, *x.shape[:2])


def heard(*modules: nn.Module) -> bool:
    """Whether anybody listens to what the modules say: then they must be called."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)
