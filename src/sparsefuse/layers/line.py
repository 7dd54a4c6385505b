"""Where projected tokens lie, for `windowed`: a line per channel, in which windows are views that overlap.

Of a sample, P places: half a block that is empty but for CLS, which comes last in it, then N tokens, then what fills
the last block, and half an empty one more. So blocks of queries begin half a block late, and the keys around a block
half a block earlier, on a whole one. Heads and samples follow one another: a sequence is a head of a sample.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Line(NamedTuple):
    """The line of samples of N tokens, in blocks of `span`."""

    length: int
    """N"""
    span: int

    @property
    def places(self) -> int:
        """P, a multiple of the span."""
        return (-(-self.length // self.span) + 1) * self.span

    @property
    def cls(self) -> int:
        """The place of CLS."""
        return self.span // 2 - 1

    @property
    def around(self) -> tuple[slice, slice]:
        """The places that hold no token: those up to CLS, and those behind the last token."""
        return slice(0, self.span // 2), slice(self.span // 2 + self.length, None)

    def laid(self, x: Tensor) -> Tensor:
        """(B, 1 + N, D) -> (B, P, D), 0 where nothing is."""
        return F.pad(x, (0, 0, self.cls, self.places - self.cls - x.shape[1]))

    def tokens(self, x: Tensor) -> Tensor:
        """(B, P, D) -> (B, 1 + N, D), a view."""
        return x[:, self.cls : self.cls + 1 + self.length]

    def blocks(self, x: Tensor) -> Tensor:
        """(C, sequences, P) -> (n, C, l): blocks of queries."""
        return self._windows(x, self.span // 2, self.span)

    def near(self, x: Tensor) -> Tensor:
        """(C, sequences, P) -> (n, C, 2 l): keys around the blocks."""
        return self._windows(x, 0, 2 * self.span)

    def join(self, blocks: Tensor, into: Tensor) -> None:
        """Blocks of queries (n, C, l) into (C, sequences, P). (No product can be written into such a view at once.)"""
        half = self.span // 2
        into[:, 0, :half] = 0
        into[:, -1, -half:] = 0
        self.blocks(into).copy_(blocks)

    def spread(self, near: Tensor, into: Tensor) -> None:
        """The transpose of `near`: (n, C, 2 l) into (C, sequences, P)."""
        first, second = near.split(self.span, 2)
        into[:, -1, -self.span :] = 0
        self._windows(into, 0, self.span).copy_(first)
        self._windows(into, self.span, self.span).add_(second)

    def _windows(self, x: Tensor, start: int, size: int) -> Tensor:
        """Views of `size` places every `span`, from sequence to sequence; none begins in the very last block."""
        count = x.shape[1] * x.shape[2] // self.span - 1
        return x.as_strided((count, x.shape[0], size), (self.span, x.stride(0), 1), x.storage_offset() + start)
