"""The part of a clip to read, and what is known of its file while the part is read."""

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

START_GAP = 0.05
"""Seconds by which the picture may begin after the sound and still be shown from the beginning of the clip."""
MOST_SILENCE = 3600.0
"""Seconds of a stream without anything, at its beginning or in holes; more is no pause but a wrong time stamp."""


class Part(NamedTuple):
    """From `start` to `end`, in seconds since the clip begins: where the first of its streams does."""

    start: float = 0.0
    end: float | None = None
    """None = the end of the film"""
    after_seek: bool = False
    """whether decoding begins at a point before `start` rather than at the film's beginning"""
    origin: Fraction | None = None
    """time stamp at which the clip begins, in seconds; None = that of the first decoded frame"""
    firsts: "Mapping[int, First]" = MappingProxyType({})
    """number of a stream -> its first frame"""

    @property
    def whole(self) -> bool:
        """Whether the part is the whole film."""
        return not self.start and self.end is None


class First(NamedTuple):
    """The first frame, or piece of sound, of a stream."""

    time: Fraction
    """time stamp in seconds"""
    samples: int
    """of the piece; 0 for a picture"""


class Late(Exception):
    """Decoding began too late: the start of the part is missing."""
