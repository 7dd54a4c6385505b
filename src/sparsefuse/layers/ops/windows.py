"""Means of a clip's parts, which stand for what is far in local attention."""

import torch
from torch import Tensor

from sparsefuse.layers.pool import members

MEANS = 15
"""Means of a clip: with CLS, 16 keys that all blocks see."""


def means(mask: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """Of which tokens under `mask` (B, 1 + N) the means of a clip's parts are made (B, M, N); their weights (B, M)."""
    tokens = mask[:, None, 1:].to(torch.float32)
    inside = members(mask[:, 1:], MEANS) * tokens  # (B, M, N)
    share = inside / inside.sum(2, keepdim=True).clamp_min(torch.finfo(inside.dtype).tiny)
    # Not a slice from `span` on, which would bind an exported model to clips longer than that, or to shorter ones.
    beyond = torch.arange(tokens.shape[2], device=mask.device) >= span
    further = ((tokens > 0) & beyond).any(-1)  # (B, 1): a clip of one block needs no means
    return share, inside.amax(2) * further


def mean_tokens(share: Tensor, tokens: Tensor) -> Tensor:
    """Shares (B or 1, M, N) of tokens (B, H, D/H, N) -> (B, H, D/H, M)."""
    rows = tokens.permute(0, 3, 1, 2).flatten(2)  # (B, N, D), as they lie in memory
    return (share.to(tokens.dtype) @ rows).unflatten(2, tokens.shape[1:3]).permute(0, 2, 3, 1)
