"""The part of a film to read, and what is known of the film while the part is read."""

from fractions import Fraction
from typing import NamedTuple


class Part(NamedTuple):
    """From `start` to `end`, in seconds since the film's first shown frame (of a sound file: its first sample)."""

    start: float = 0.0
    end: float | None = None
    """None = the end of the film"""
    after_seek: bool = False
    """whether decoding begins at a point before `start` rather than at the film's beginning"""
    origin: float | None = None
    """time stamp of the film's first frame in seconds; None = that of the first decoded frame"""
    sound: "SoundBegin | None" = None
    """None where the sound is read whole"""

    @property
    def whole(self) -> bool:
        """Whether the part is the whole film: then each stream counts from its own beginning."""
        return not self.start and self.end is None


class SoundBegin(NamedTuple):
    """Where the sound of a film begins."""

    time: Fraction
    """time stamp of the first sample, in seconds"""
    ahead: Fraction
    """seconds by which the sound begins before the first frame"""
    samples: int
    """of the first piece"""
    codec: str


class Late(Exception):
    """Decoding began too late: the start of the part is missing."""
