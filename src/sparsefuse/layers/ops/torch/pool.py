"""Windows of a stream, by places among its real tokens, and means over them, written as sums."""

import torch
from torch import Tensor


def window_index(mask: Tensor, *, keep: int | None = None, stride: int | None = None) -> Tensor:
    """See `ops.window_index`."""
    rank = (mask > 0).long().cumsum(1) - 1  # (B, N) place among the real tokens
    if keep is not None:
        real = rank[:, -1:] + 1
        return (rank * keep // real.clamp_min(keep)).clamp(0, keep - 1)
    assert stride is not None
    return (rank // stride).clamp_min(0)


def window_means(x: Tensor, weight: Tensor, index: Tensor, count: int) -> Tensor:
    """See `ops.window_means`."""
    total = weight.new_zeros(weight.shape[0], count).scatter_add(1, index, weight)  # (B, K)
    # As rows of all samples: three times as fast as along the second dimension.
    rows = (index + count * torch.arange(x.shape[0], device=x.device)[:, None]).flatten()[:, None]  # (B N, 1)
    summed = x.new_zeros(x.shape[0] * count, x.shape[2])
    summed = summed.scatter_add(0, rows.expand(-1, x.shape[2]), (x * weight[..., None]).flatten(0, 1))
    return summed.unflatten(0, (-1, count)) / total.clamp_min(torch.finfo(x.dtype).tiny)[..., None]
