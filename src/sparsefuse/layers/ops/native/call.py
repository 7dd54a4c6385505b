"""What attention.cpp is called with, as a line of 64-bit numbers: the fields of `Call` in patterns.h, in its order."""

from array import array
from collections.abc import Sequence
from ctypes import CDLL
from enum import IntEnum
from itertools import chain
from struct import pack, unpack
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.ops.native.building import library

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
        """What is read goes to x; what the way back needs, to `kept` (2, B, H, N)."""
        run("forward", self.width, self.numbers(x, kept) + NO_WAY_BACK)

    def backward(self, x: View, kept: Tensor, grad: View, slopes: Sequence[View]) -> None:
        """`slopes`, of q, k, v, far k and far v, by what flows to x."""
        run("backward", self.width, [*self.numbers(x, kept), *back(grad, slopes)])

    def numbers(self, x: View, kept: Tensor | None) -> list[int]:
        """The line's first part; `back` or `NO_WAY_BACK` comes next."""
        sizes = [self.kind, self.samples, self.heads, self.queries, self.keys, self.far, self.span]
        views = [*self.q, *self.k, *self.v, *self.far_k, *self.far_v, *x]
        weights = [0 if tensor is None else tensor.data_ptr() for tensor in (self.weights, self.far_weights)]
        at, step = (0, 0) if kept is None else (kept.data_ptr(), kept.stride(0) * 4)
        return [*sizes, torch.get_num_threads(), *views, *weights, at, at + step]


def back(grad: View, slopes: Sequence[View]) -> list[int]:
    """The line's second part, for the way back."""
    return [*grad, *chain.from_iterable(slopes)]


NO_WAY_BACK = [0] * 6 * len(NOWHERE)
"""The second part, where there is no way back."""


def run(name: str, width: int, numbers: Sequence[int]) -> None:
    """Calls a function of the library for heads of `width`."""
    found = library("attention", width)
    assert found is not None
    read = line(found, numbers)  # by this name it outlives the call
    getattr(found, name)(read.buffer_info()[0])


def line(found: CDLL, numbers: Sequence[int]) -> "array[int]":
    """As the library reads them."""
    line = array("q", numbers)
    assert len(line) == found.numbers, "the line must be as long as the struct that is read from it"
    return line


def bits(x: float) -> int:
    """A double as the number that has its bits."""
    return unpack("q", pack("d", x))[0]
