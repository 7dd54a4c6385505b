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
