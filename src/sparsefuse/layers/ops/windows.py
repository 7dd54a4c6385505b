"""Windows of a stream: which tokens are in which, and their means, which stand for what is far in local attention."""

import torch
from torch import Tensor

from sparsefuse.layers.ops.tracing import exporting

MEANS = 15
"""Means of a clip: with CLS, 16 keys that all blocks see."""


def num_windows(length: int, size: int) -> int:
    """Windows of `size` that hold `length` tokens; one more, left empty, in an exported model.

    torch.export treats a count of 1 as another program: without the empty window, a model exported on long clips would
    refuse short ones.
    """
    return (length - 1) // size + (2 if exporting() else 1)


def members(mask: Tensor, keep: int) -> Tensor:
    """Whether a real token under `mask` (B, N) is in each of `keep` windows of equal length (B, K, N) bool.

    By comparing: compiled, each of K N answers would divide anew, and integers divide slowly.
    """
    real = (mask > 0).long()
    place = ((real.cumsum(1) - 1) * keep)[:, None]  # (B, 1, N)
    length = real.sum(1).clamp_min(keep)[:, None, None]
    start = torch.arange(keep, device=mask.device)[:, None] * length  # (B, K, 1)
    return (place >= start) & (place < start + length)


def means(mask: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """Of which tokens under `mask` (B, 1 + N) the means of a clip's parts are made (B, M, N); their weights (B, M)."""
    tokens = mask[:, None, 1:].to(torch.float32)
    inside = members(mask[:, 1:], MEANS) * tokens  # (B, M, N)
    share = inside / inside.sum(2, keepdim=True).clamp_min(torch.finfo(inside.dtype).tiny)
    # Not a slice from `span` on, which would bind an exported model to clips longer than that, or to shorter ones.
    beyond = torch.arange(tokens.shape[2], device=mask.device) >= span
    further = ((tokens > 0) & beyond).any(-1)  # (B, 1): a clip of one block needs no means
    return share, inside.amax(2) * further
