"""What an extractor asks of a film or another file, and what it gets: the nouns of `media.read`."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np


class FramesRequest(NamedTuple):
    """The pictures of the first video stream, upright."""

    rate: float | None = None
    """frames per second of a regular grid, each point showing the frame nearest in time; None = every frame"""
    size: tuple[int, int] | None = None
    """(height, width) in pixels; None = as it is"""
    gray: bool = False


class Frames(NamedTuple):
    """What a FramesRequest gets."""

    pixels: np.ndarray
    """(T, H, W, C) uint8, RGB (C = 3) or grey (C = 1), 0 to 255."""
    times: np.ndarray
    """(T,) float64, seconds since the first frame, or since `start`."""


class SoundRequest(NamedTuple):
    """The first audio stream: it gets (S,) float32 in [-1, 1], finite, the mean of the channels."""

    rate: int = 16000
    """samples per second"""


class FileRequest(NamedTuple):
    """The file itself: for what is no film (text, numbers), or is read in another way."""

    parts: bool = False
    """whether whoever asks can read from `start` to `end`; else rows that name a part are refused"""


class File(NamedTuple):
    """What a FileRequest gets."""

    path: Path
    start: float = 0.0
    """seconds; where the wanted part begins"""
    end: float | None = None
    """seconds; where it ends, None = at the file's end"""


class Limits(NamedTuple):
    """What is refused, because it would fill the memory or take forever."""

    seconds: float = math.inf
    """of a film, or of the part of it that is read"""
    file_bytes: float = math.inf
    frame_bytes: float = math.inf
    """all kept frames of one request together"""


Request = FramesRequest | SoundRequest | FileRequest
Found = Frames | np.ndarray | File
