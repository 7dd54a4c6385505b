"""Means over windows of a stream, written as sums."""

import torch
from torch import Tensor


def window_means(x: Tensor, weight: Tensor, index: Tensor, count: int) -> Tensor:
    """See `ops.window_means`."""
    total = weight.new_zeros(weight.shape[0], count).scatter_add(1, index, weight)  # (B, K)
    # As rows of all samples: three times as fast as along the second dimension.
    rows = (index + count * torch.arange(x.shape[0], device=x.device)[:, None]).flatten()[:, None]  # (B N, 1)
    summed = x.new_zeros(x.shape[0] * count, x.shape[2])
    summed = summed.scatter_add(0, rows.expand(-1, x.shape[2]), (x * weight[..., None]).flatten(0, 1))
    return summed.unflatten(0, (-1, count)) / total.clamp_min(torch.finfo(x.dtype).tiny)[..., None]
