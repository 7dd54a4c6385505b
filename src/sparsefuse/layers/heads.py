"""Splits linear projections into attention heads."""

from torch import Tensor


def check_heads(dim: int, num_heads: int) -> None:
    """Raises ValueError if the width cannot be shared among the heads."""
    if dim % num_heads:
        raise ValueError(f"dim must be a multiple of num_heads; got dim={dim}, num_heads={num_heads}")


def heads(x: Tensor, parts: int, num_heads: int) -> tuple[Tensor, ...]:
    """(B, N, parts * D) -> `parts` tensors (B, H, N, D/H)."""
    return x.unflatten(-1, (parts, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
