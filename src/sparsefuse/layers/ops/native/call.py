"""Attention in C++, called: queries, keys and values as tensors lie in memory."""

from collections.abc import Sequence
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.ops.native.arguments import NUM_VIEWS, VIEW, AttentionArguments, run
from sparsefuse.layers.ops.native.library import library

View = tuple[int, int, int, int]
"""Rows (B, H, N, C) of float32, channels side by side: an address, and how far samples, heads and tokens lie apart."""
NOWHERE: View = (0, 0, 0, 0)


def view(x: Tensor) -> View:
    """Of a tensor (B, H, N, C)."""
    return x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)


def views(x: Tensor, count: int, heads: int) -> list[View]:
    """Of rows (B, N, count * H * C), `count` parts."""
    sample, token, _ = x.stride()
    width, at = x.shape[2] // count, x.data_ptr()
    return [(at + 4 * part * width, sample, width // heads, token) for part in range(count)]


class Kind(IntEnum):
    """Who sees what."""

    DENSE = 0
    LOCAL = 1
    STRIDED = 2


class Given(NamedTuple):
    """Queries, keys and values, and who sees what (patterns.h says it)."""

    samples: int
    heads: int
    width: int
    queries: int
    keys: int
    q: View
    k: View
    v: View
    weights: Tensor | None
    """(B, N') logarithms to base 2"""
    kind: Kind = Kind.DENSE
    span: int = 0
    far: int = 0
    far_k: View = NOWHERE
    far_v: View = NOWHERE
    far_weights: Tensor | None = None

    def forward(self, x: View, kept: Tensor | None) -> None:
        """What is attended to goes to x; what the backward pass needs, to `kept` (2, B, H, N)."""
        self._run("attention_forward", x, kept, _NO_BACKWARD)

    def backward(self, x: View, kept: Tensor, grad: View, gradients: Sequence[View]) -> None:
        """`gradients`, of q, k, v, far k and far v, by `grad`, that of x."""
        self._run("attention_backward", x, kept, [*grad, *chain.from_iterable(gradients)])

    def _run(self, name: str, x: View, kept: Tensor | None, backward: Sequence[int]) -> None:
        at, step = (0, 0) if kept is None else (kept.data_ptr(), kept.stride(0) * 4)
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
        found = library()
        assert found is not None
        run(found, name, arguments.packed())


_NO_BACKWARD = [0] * (NUM_VIEWS // 2 * VIEW)
