"""SegFormer's all-MLP head: a pyramid of fields to logits on the grid of its first stage."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.layers.pixels.field import enlarged
from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.layers.pixels.weights import linear, norm
from sparsefuse.tokens import Field


class AllMlpHead(nn.Module):
    """Every stage as wide as the others and as large as the first; joined; two linear layers (SegFormer eq. 4).

    Between the two the released code has a batch norm, which stays at its initial statistics, and a ReLU. Here it is a
    LayerNorm: what a pixel is told depends on no other sample.
    """

    def __init__(self, size: Size, num_classes: int):
        super().__init__()
        dim = size.head_dim
        self.widen = nn.ModuleList(linear(stage, dim) for stage in size.dims)
        self.fuse = nn.Linear(len(size.dims) * dim, dim, bias=False)
        nn.init.kaiming_normal_(self.fuse.weight, nonlinearity="relu")
        self.norm = norm(dim)
        self.classify = linear(dim, num_classes)
        self.stride = size.patches[0][1]
        """pixels per logit, along each side"""
        self.factors = tuple(math.prod(stride for _, stride in size.patches[1 : i + 1]) for i in range(len(size.dims)))

    def forward(self, pyramid: list[Field], stream: int = 0) -> Tensor:
        """(B, H1, W1, C), whatever the stream's number: nothing of it is apart."""
        rows, columns = pyramid[0].mask.shape[1:]
        stages = [
            enlarged(Field(widen(x), mask), factor, rows, columns)
            for widen, (x, mask), factor in zip(self.widen, pyramid, self.factors, strict=True)
        ]
        return self.classify(F.relu(self.norm(self.fuse(torch.cat(stages, -1)))))
