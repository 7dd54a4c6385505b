"""What all layers on fields need: convolutions that padding does not reach, and grids of another size.

A field (B, H, W, D) in memory is what PyTorch calls channels last, so it passes to a convolution and back uncopied.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.tokens import Field


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """(B, H, W, D) -> (B, H', W', D')"""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def zeroed(field: Field) -> Tensor:
    """(B, H, W, D) with zeros where nothing is real: what a convolution pads a picture with."""
    return field.x.masked_fill(~field.mask[..., None], 0)


def windows(field: Field, size: int) -> Field:
    """The field with its grid grown to whole windows of `size` x `size` by tokens that are not real."""
    (x, mask), (rows, columns) = field, field.mask.shape[1:]
    down, right = -rows % size, -columns % size
    if isinstance(down, int) and isinstance(right, int) and not (down or right):
        return field
    return Field(F.pad(x, (0, 0, 0, right, 0, down)), F.pad(mask, (0, right, 0, down)))


def any_of_windows(mask: Tensor, size: int) -> Tensor:
    """(B, H, W) bool, whole windows -> (B, H / size, W / size): whether something in a window is real."""
    return mask.unflatten(1, (-1, size)).unflatten(3, (-1, size)).any(4).any(2)


def mean_of_windows(field: Field, size: int) -> Field:
    """The mean of the real tokens of every window of `size` x `size`; those at the border may be cut."""
    field = windows(field, size)
    x, mask = zeroed(field), field.mask
    count = mask.unflatten(1, (-1, size)).unflatten(3, (-1, size)).sum((2, 4))
    total = x.unflatten(1, (-1, size)).unflatten(3, (-1, size)).sum((2, 4))
    return Field(total / count.clamp_min(1)[..., None].to(x.dtype), count > 0)


def enlarged(field: Field, factor: int, rows: int, columns: int) -> Tensor:
    """Bilinear, `factor` times as large, cut to (B, rows, columns, D). What is not real has no weight, so that the
    border of a picture is the same with padding and without."""
    if factor == 1:
        return field.x[:, :rows, :columns]
    weight = field.mask[:, None].to(field.x.dtype)  # (B, 1, H, W)
    x, weight = (
        F.interpolate(part, scale_factor=factor, mode="bilinear", align_corners=False)[:, :, :rows, :columns]
        for part in (zeroed(field).permute(0, 3, 1, 2), weight)
    )
    return (x / weight.clamp_min(torch.finfo(x.dtype).tiny)).permute(0, 2, 3, 1)
