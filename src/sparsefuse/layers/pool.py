"""Pools the N tokens of a stream to K, over windows of its real length (SFT eq. 4)."""

import functools
from typing import Literal, get_args

import torch
from torch import Tensor

from sparsefuse.layers import ops
from sparsefuse.layers.ops.tracing import all_real
from sparsefuse.layers.ops.windows import num_windows
from sparsefuse.tokens import Tokens

Pool = Literal["avg", "max", "attn"]
Tail = Literal["keep", "drop"]
POOLS: tuple[Pool, ...] = get_args(Pool)


def windows(mask: Tensor, *, keep: int | None = None, stride: int | None = None) -> tuple[Tensor, int]:
    """The window of every token under `mask` (B, N) -> index (B, N) in 0 .. K-1, and K.

    `keep` cuts each sample's real length into that many windows of equal length (fewer tokens than windows: one each);
    `stride` makes windows of that many tokens, the last of which may be short.
    """
    length = mask.shape[1]
    if all_real(mask):
        index, count = _windows_of_real(length, keep, stride), _count(length, keep, stride)
        return index.expand_as(mask), count
    return ops.window_index(mask, keep=keep, stride=stride), _count(length, keep, stride)


@functools.lru_cache(maxsize=16)
def _windows_of_real(length: int, keep: int | None, stride: int | None) -> Tensor:
    """`windows` of `length` real tokens: index (1, N). Counting them anew takes 5 % of a small model's forward pass."""
    with torch.inference_mode(False):  # inference tensors could not be used in training later
        return ops.window_index(torch.ones(1, length, dtype=torch.bool, device="cpu"), keep=keep, stride=stride)


def _count(length: int, keep: int | None, stride: int | None) -> int:
    if keep is not None:
        return keep
    assert stride is not None
    return num_windows(length, stride)


def without_tail(mask: Tensor, stride: int) -> Tensor:
    """The mask (B, N) without the tokens of a sample that do not fill a window of `stride`, as the released code."""
    rank = (mask > 0).long().cumsum(1) - 1
    return mask * (rank < (rank[:, -1:] + 1) // stride * stride)


def pool_windows(
    tokens: Tokens,
    *,
    how: Pool,
    keep: int | None = None,
    stride: int | None = None,
    significance: Tensor | None = None,
) -> Tokens:
    """`pool` over `windows`."""
    index, count = windows(tokens.mask, keep=keep, stride=stride)
    return pool(tokens, index, count, how=how, significance=significance)


def pool(tokens: Tokens, index: Tensor, count: int, *, how: Pool, significance: Tensor | None = None) -> Tokens:
    """Pools tokens (B, N, D) into `count` windows given by `index` (B, N) -> (B, K, D); empty windows are masked.

    avg: mean over the window's real tokens. max: largest value per channel. attn: mean weighted by `significance`
    (B, N), the attention each token received (SFT eq. 12; Goyal et al. 2020).
    """
    x, mask = tokens
    kept = _kept(mask, index, count, x.dtype)
    if how == "max":
        low = torch.finfo(x.dtype).min
        top = x.new_full((x.shape[0], count, x.shape[2]), low)
        top = top.scatter_reduce(1, index[..., None].expand_as(x), x.masked_fill((mask == 0)[..., None], low), "amax")
        return Tokens(top.masked_fill(kept.unsqueeze(-1) == 0, 0), kept)
    weight = mask.to(x.dtype)
    if how == "attn":
        assert significance is not None
        weight = weight * significance
    return Tokens(ops.window_means(x, weight, index, count), kept)


def _kept(mask: Tensor, index: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """The mask (B, K) of the windows: the largest of their tokens'."""
    kept = mask.new_zeros(mask.shape[0], count, dtype=dtype)
    if mask.dtype == torch.bool:
        return kept.scatter_add(1, index, mask.to(dtype)) > 0  # small runtimes have scatter-add but not scatter-amax
    return kept.scatter_reduce(1, index, mask.to(dtype), "amax")
