"""Random numbers that stay the same for ever: numpy keeps its bit streams, but not how numbers are made of them."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")
BLOCK = 256


class Draws:
    """The numbers of a seed, in order."""

    def __init__(self, *seed: int):
        self._bits = np.random.PCG64(seed)
        self._left: list[int] = []

    def share(self) -> float:
        """In [0, 1)."""
        if not self._left:
            self._left = self.bits(BLOCK).tolist()
        return (self._left.pop() >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """In [low, high)."""
        return low + (high - low) * self.share()

    def chance(self, share: float) -> bool:
        """True in that share of the calls."""
        return self.share() < share

    def one(self, choices: Sequence[Choice]) -> Choice:
        """One of them, each with the same chance."""
        return choices[int(self.share() * len(choices))]

    def bits(self, count: int) -> np.ndarray:
        """(count,) uint64."""
        return self._bits.random_raw(count)

    def noise(self, *shape: int) -> np.ndarray:
        """float32, mean 0 and deviation 1: the sum of four bytes, so at most 3.46 from 0."""
        count = int(np.prod(shape))
        bytes_ = self.bits(-(-count // 2)).astype("<u8", copy=False).view(np.uint8)
        quarters = bytes_[: 4 * count].reshape(4, *shape)
        total = quarters[0].astype(np.float32)
        for quarter in quarters[1:]:
            total += quarter
        return (total - np.float32(510.0)) / np.float32(147.8)
