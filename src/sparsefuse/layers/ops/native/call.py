"""A call of attention in C++, with the addresses and strides of queries, keys and values."""

from collections.abc import Sequence
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.ops.native.arguments import NUM_VIEWS, VIEW, AttentionArguments, run
from sparsefuse.layers.ops.native.library import library

RowsView = tuple[int, int, int, int]
"""A float32 tensor (B, H, N, C) with contiguous channels: its address, and the strides of samples, heads and tokens."""
NO_ROWS: RowsView = (0, 0, 0, 0)


def rows_view(x: Tensor) -> RowsView:
    """The address and strides of a tensor (B, H, N, C)."""
    return x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)


class Kind(IntEnum):
    """Attention patterns, numbered as in patterns.h."""

    DENSE = 0
    LOCAL = 1
    STRIDED = 2


class AttentionCall(NamedTuple):
    """Queries, keys and values, and the attention pattern (see patterns.h)."""

    samples: int
    heads: int
    width: int
    queries: int
    keys: int
    q: RowsView
    k: RowsView
    v: RowsView
    weights: Tensor | None
    """(B, N') log2 weights of the keys"""
    kind: Kind = Kind.DENSE
    span: int = 0
    far: int = 0
    far_k: RowsView = NO_ROWS
    far_v: RowsView = NO_ROWS
    far_weights: Tensor | None = None

    def forward(self, x: RowsView, saved: Tensor | None) -> None:
        """Writes the output to x, and the row maxima and inverse sums that backward needs to `saved` (2, B, H, N)."""
        self._run("attention_forward", x, saved, _NO_BACKWARD)

    def backward(self, x: RowsView, saved: Tensor, grad_out: RowsView, gradients: Sequence[RowsView]) -> None:
        """Writes the gradients of q, k, v, far k and far v from `grad_out`, the gradient of x."""
        self._run("attention_backward", x, saved, [*grad_out, *chain.from_iterable(gradients)])

    def _run(self, name: str, x: RowsView, saved: Tensor | None, backward: Sequence[int]) -> None:
        at, step = (0, 0) if saved is None else (saved.data_ptr(), saved.stride(0) * 4)
        arguments = AttentionArguments(
            kind=self.kind,
            samples=self.samples,
            heads=self.heads,
            head_dim=self.width,
            queries=self.queries,
            keys=self.keys,
            far=self.far,
            span=self.span,
            threads=torch.get_num_threads(),
            log_weights=0 if self.weights is None else self.weights.data_ptr(),
            far_log_weights=0 if self.far_weights is None else self.far_weights.data_ptr(),
            row_max=at,
            inv_sum=at + step,
            views=[*self.q, *self.k, *self.v, *self.far_k, *self.far_v, *x, *backward],
        )
        native = library()
        assert native is not None
        run(native, name, arguments.packed())


_NO_BACKWARD = [0] * (NUM_VIEWS // 2 * VIEW)
