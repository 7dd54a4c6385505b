"""Pooling a stream over windows of its real length: N tokens in, K tokens out (SFT eq. 4)."""

import functools
from typing import Literal, get_args

import torch
from torch import Tensor

from sparsefuse.layers.ops.tracing import eager, exporting, full
from sparsefuse.tokens import Tokens

Pool = Literal["avg", "max", "attn"]
POOLS: tuple[Pool, ...] = get_args(Pool)
FEW = 64
"""Windows up to which averages are a product with all tokens."""


def windows(mask: Tensor, *, keep: int | None = None, stride: int | None = None) -> tuple[Tensor, int]:
    """The window of every token under `mask` (B, N) -> index (B, N) in 0 .. K-1, and K.

    `keep` cuts each sample's real length into that many windows of equal length (fewer tokens than windows: one each);
    `stride` makes windows of that many tokens, the last of which may be short (the released code drops that tail).
    """
    rank = (mask > 0).long().cumsum(1) - 1  # (B, N) place among the real tokens
    if keep is not None:
        real = rank[:, -1:] + 1
        return (rank * keep // real.clamp_min(keep)).clamp(0, keep - 1), keep
    assert stride is not None
    return (rank // stride).clamp_min(0), num_windows(mask.shape[1], stride)


def members(mask: Tensor, keep: int) -> Tensor:
    """Whether a real token under `mask` (B, N) is in each of the `keep` windows of `windows` -> (B, K, N) bool.

    By comparing: compiled, each of K N answers would divide anew, and integers divide slowly.
    """
    real = (mask > 0).long()
    place = ((real.cumsum(1) - 1) * keep)[:, None]  # (B, 1, N)
    length = real.sum(1).clamp_min(keep)[:, None, None]
    start = torch.arange(keep, device=mask.device)[:, None] * length  # (B, K, 1)
    return (place >= start) & (place < start + length)


def averages(tokens: Tokens, *, keep: int | None = None, stride: int | None = None) -> Tokens | None:
    """CLS and the averages of the others' `windows`, (B, 1 + N, D) -> (B, 1 + K, D), by one product.

    None unless windows are few and all tokens known to be real.
    """
    x, mask = tokens
    length = mask.shape[1] - 1
    count = keep if keep is not None else num_windows(length, stride or 1)
    if not eager(x) or not 0 < count <= FEW or length < 1 or not full(mask):
        return None
    share, kept = _shares(length, keep, stride, x.dtype)
    return Tokens(share @ x, kept.expand(len(x), -1))


@functools.lru_cache(maxsize=16)
def _shares(length: int, keep: int | None, stride: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(1 + K, 1 + N): which share CLS and each of N tokens has in CLS and each window; their mask (1, 1 + K)."""
    with torch.inference_mode(False):  # or they could not be used in training later
        index, count = windows(torch.ones(1, length, dtype=torch.bool, device="cpu"), keep=keep, stride=stride)
        inside = index == torch.arange(count, device="cpu")[:, None]
        inside = torch.block_diag(torch.ones(1, 1), inside.to(dtype))
        size = inside.sum(1, keepdim=True)
        return inside.to(dtype) / size.clamp_min(1), (size > 0).T


def num_windows(length: int, size: int) -> int:
    """Windows of `size` that hold `length` tokens; one more, left empty, in an exported model.

    torch.export treats a count of 1 as another program: without the empty window, a model exported on long clips would
    refuse short ones.
    """
    return (length - 1) // size + (2 if exporting() else 1)


def pool(tokens: Tokens, index: Tensor, count: int, *, how: Pool, significance: Tensor | None = None) -> Tokens:
    """Pools tokens (B, N, D) into `count` windows given by `index` (B, N) -> (B, K, D); empty windows are masked.

    avg: mean over the window's real tokens. max: largest value per channel. attn: mean weighted by `significance`
    (B, N), the attention each token received (SFT eq. 12; Goyal et al. 2020).
    """
    x, mask = tokens
    kept = _kept(mask, index, count, x.dtype)
    wide = index[..., None].expand_as(x)
    if how == "max":
        low = torch.finfo(x.dtype).min
        top = x.new_full((x.shape[0], count, x.shape[2]), low)
        top = top.scatter_reduce(1, wide, x.masked_fill((mask == 0)[..., None], low), "amax")
        return Tokens(top.masked_fill(kept.unsqueeze(-1) == 0, 0), kept)
    weight = mask.to(x.dtype)
    if how == "attn":
        assert significance is not None
        weight = weight * significance
    total = weight.new_zeros(weight.shape[0], count).scatter_add(1, index, weight)  # (B, K)
    summed = x.new_zeros(x.shape[0], count, x.shape[2]).scatter_add(1, wide, x * weight[..., None])
    return Tokens(summed / total.clamp_min(torch.finfo(x.dtype).tiny)[..., None], kept)


def _kept(mask: Tensor, index: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """The mask (B, K) of the windows: the largest of their tokens'."""
    found = mask.new_zeros(mask.shape[0], count, dtype=dtype)
    if mask.dtype == torch.bool:
        return found.scatter_add(1, index, mask.to(dtype)) > 0  # small runtimes lack the largest, not the sum
    return found.scatter_reduce(1, index, mask.to(dtype), "amax")
