"""Which tokens are in which window: of a stream that is pooled, and of the far keys of local attention."""

# pyright: reportOperatorIssue=false, reportArgumentType=false
# (Triton compiles these functions; what they hold has other types than its signatures say.)

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsefuse.layers.ops.triton.launch import launch
from sparsefuse.layers.ops.windows import MEANS

TOKENS = 1024
"""Tokens that go together."""


def supports(mask: Tensor) -> bool:
    """Whether `window_index` can compute this call."""
    return mask.dtype in (torch.bool, torch.float32, torch.bfloat16, torch.float16) and min(mask.shape) > 0


def window_index(mask: Tensor, *, keep: int | None = None, stride: int | None = None) -> Tensor:
    """See `ops.window_index`."""
    mask = readable(mask)
    index = torch.empty(mask.shape, dtype=torch.long, device=mask.device)
    length = mask.shape[1]
    launch(window_of, (len(mask),), mask, index, length, keep or 0, stride or 0, TOKENS=TOKENS)
    return index


def shares(mask: Tensor, span: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The share of each token under `mask` (B, N), CLS first, in each far key (B, F, N); their weights (B, F).

    The first far key is CLS, the others are `ops.windows.means`.
    """
    mask = readable(mask)
    batch, length = mask.shape
    share = torch.empty(batch, 1 + MEANS, length, dtype=dtype, device=mask.device)
    weight = torch.empty(batch, 1 + MEANS, dtype=torch.float32, device=mask.device)
    launch(far_shares, (1 + MEANS, batch), mask, share, weight, length, span, MEANS=MEANS, TOKENS=TOKENS)
    return share, weight


def readable(mask: Tensor) -> Tensor:
    """A mask as kernels read it: they know no bool."""
    return (mask.view(torch.uint8) if mask.dtype == torch.bool else mask).contiguous()


@triton.jit(do_not_specialize=("length",))
def window_of(mask_ptr, index_ptr, length, keep, stride, TOKENS: tl.constexpr):
    """A program a clip; see `window_index`. One of keep and stride is 0."""
    clip, places = tl.program_id(0).to(tl.int64), tl.arange(0, TOKENS)
    mask_ptr += clip * length
    index_ptr += clip * length
    real = 0
    for first in range(0, length, TOKENS):
        real += tl.sum(real_ones(mask_ptr, first + places, length), 0)
    size = tl.maximum(real, keep)
    before = 0
    for first in range(0, length, TOKENS):
        rows = first + places
        here = real_ones(mask_ptr, rows, length)
        rank = tl.maximum(before + tl.cumsum(here, 0) - 1, 0).to(tl.int64)
        before += tl.sum(here, 0)
        if stride > 0:
            index = rank // stride
        else:
            index = rank * keep // size
        tl.store(index_ptr + rows, index, rows < length)


@triton.jit(do_not_specialize=("length", "span"))
def far_shares(mask_ptr, share_ptr, weight_ptr, length, span, MEANS: tl.constexpr, TOKENS: tl.constexpr):
    """See `shares`. Real tokens are cut into windows of equal length, fewer than MEANS into windows of one."""
    far, clip, places = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.arange(0, TOKENS)
    mask_ptr += clip * length
    at = clip * (MEANS + 1) + far
    share_ptr += at * length
    real, further = 0, 0
    for first in range(1, length, TOKENS):
        rows = first + places
        here = real_ones(mask_ptr, rows, length)
        real += tl.sum(here, 0)
        further += tl.sum(tl.where(rows > span, here, 0), 0)  # a clip of one block needs no means
    size = tl.maximum(real, MEANS)
    before = 0
    total, most = tl.zeros((), tl.float32), tl.zeros((), tl.float32)
    for first in range(1, length, TOKENS):
        inside, before = members(mask_ptr, first + places, length, before, far - 1, size, MEANS)
        total += tl.sum(inside, 0)
        most = tl.maximum(most, tl.max(inside, 0))
    total = tl.maximum(total, 1.2e-38)
    before = 0
    for first in range(1, length, TOKENS):
        rows = first + places
        inside, before = members(mask_ptr, rows, length, before, far - 1, size, MEANS)
        tl.store(share_ptr + rows, (inside / total).to(share_ptr.dtype.element_ty), rows < length)
    cls = far == 0
    tl.store(share_ptr, tl.where(cls, 1.0, 0.0).to(share_ptr.dtype.element_ty))
    own = tl.load(mask_ptr).to(tl.float32)
    tl.store(weight_ptr + at, tl.where(cls, own, tl.where(further > 0, most, 0.0)))


@triton.jit
def members(mask_ptr, rows, length, before, window, size, MEANS: tl.constexpr):
    """The weights of tokens in a window, 0 for others; and how many real tokens there are up to the last of `rows`."""
    weight = tl.load(mask_ptr + rows, rows < length, 0).to(tl.float32)
    here = (weight > 0).to(tl.int32)
    rank = before + tl.cumsum(here, 0) - 1
    inside = tl.where(rank * MEANS // size == window, weight, 0.0)
    return inside, before + tl.sum(here, 0)


@triton.jit
def real_ones(mask_ptr, rows, length):
    """1 for each real token, else 0."""
    return (tl.load(mask_ptr + rows, rows < length, 0).to(tl.float32) > 0).to(tl.int32)
