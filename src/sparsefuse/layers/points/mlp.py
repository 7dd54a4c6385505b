"""Networks of points, one by one, normalised over those that are real."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from sparsefuse.layers.ops.tracing import exporting


class PointMlp(nn.Module):
    """Linear layers, each with a batch norm and ReLU: (..., D) of mask (...) -> (..., D'), 0 where nothing is real.

    Padding is left out, so that it changes no statistics.
    """

    def __init__(self, widths: Sequence[int], *, bias: bool = False):
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])
        for linear in self.linears:
            nn.init.kaiming_normal_(linear.weight)  # pyright: ignore[reportArgumentType]
            if bias:
                nn.init.zeros_(linear.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if exporting():  # how many are real must not shape the graph
            return torch.where(mask[..., None], self.rows(x.flatten(0, -2)).unflatten(0, mask.shape), 0.0)
        return unpacked(self.rows(x[mask]), mask)

    def rows(self, rows: Tensor) -> Tensor:
        """Of points that are all real: (R, D) -> (R, D')."""
        for linear, norm in zip(self.linears, self.norms, strict=True):
            rows = norm(linear(rows)).relu()
        return rows


def unpacked(rows: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """Rows (R, D), one for each True of the mask (...), at their places -> (..., D)."""
    whole = rows.new_full((*mask.shape, rows.shape[-1]), fill)
    whole[mask] = rows
    return whole
