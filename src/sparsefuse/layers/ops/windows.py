"""Windows of a stream: which tokens are in which, and their means, the distant keys of local attention."""

import torch
from torch import Tensor

from sparsefuse.layers.ops.tracing import exporting

MEANS = 15
"""Means of a clip: with CLS, 16 keys that all blocks share."""


def num_windows(length: int, size: int) -> int:
    """Windows of `size` that hold `length` tokens; one more, left empty, in an exported model.

    torch.export specialises on a count of 1: without the empty window, a model exported on long clips would reject
    short ones.
    """
    return (length - 1) // size + (2 if exporting() else 1)


def members(mask: Tensor, keep: int) -> Tensor:
    """Whether a real token under `mask` (B, N) is in each of `keep` windows of equal length (B, K, N) bool.

    By comparisons: compiled, each of the K N elements would need an integer division, which is slow.
    """
    real = (mask > 0).long()
    place = ((real.cumsum(1) - 1) * keep)[:, None]  # (B, 1, N)
    length = real.sum(1).clamp_min(keep)[:, None, None]
    start = torch.arange(keep, device=mask.device)[:, None] * length  # (B, K, 1)
    return (place >= start) & (place < start + length)


def means(mask: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """Weights (B, M, N) that average tokens under `mask` (B, 1 + N) over windows; the weights (B, M) of these means."""
    tokens = mask[:, None, 1:].to(torch.float32)
    inside = members(mask[:, 1:], MEANS) * tokens  # (B, M, N)
    share = inside / inside.sum(2, keepdim=True).clamp_min(torch.finfo(inside.dtype).tiny)
    # Not a slice from `span` on: export would specialise on clips longer than that, or shorter.
    beyond = torch.arange(tokens.shape[2], device=mask.device) >= span
    further = ((tokens > 0) & beyond).any(-1)  # (B, 1): a clip of one block needs no means
    return share, inside.amax(2) * further
