"""Overlapping patches: a field to one of fewer, wider tokens (SegFormer's overlapped patch merging)."""

from torch import nn

from sparsefuse.layers.pixels.field import convolve, zeroed
from sparsefuse.layers.pixels.weights import conv
from sparsefuse.tokens import Field


class OverlapPatches(nn.Module):
    """(B, H, W, D) -> (B, H / stride, W / stride, D'), rounded up. A patch is real where the pixel at its centre is."""

    def __init__(self, dim_in: int, dim: int, kernel: int, stride: int):
        super().__init__()
        self.conv, self.stride = conv(dim_in, dim, kernel, stride, padding=kernel // 2), stride

    def forward(self, field: Field) -> Field:
        return Field(convolve(self.conv, zeroed(field)), field.mask[:, :: self.stride, :: self.stride])
