"""The requests of extractors for the content of a media file, and their results: the nouns of `media.read`."""

import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np


class FramesRequest(NamedTuple):
    """The pictures of the first video stream, upright."""

    rate: float | None = None
    """frames per second of a regular grid, each point showing the frame nearest in time; None = every frame"""
    size: tuple[int, int] | None = None
    """(height, width) in pixels; None = as it is"""
    gray: bool = False


class Frames(NamedTuple):
    """The result of a FramesRequest."""

    pixels: np.ndarray
    """(T, H, W, C) uint8, RGB (C = 3) or grey (C = 1), 0 to 255."""
    times: np.ndarray
    """(T,) float64, seconds since the clip begins, or since `start`."""


Choice = Literal["default", "first"] | int
"""Which sound of a file: the one that its container plays by default, the first, or by number, from 0."""
Channels = Literal["mean", "left", "right", "max"]
"""What is made of several channels; max: the loudest one of what is read. A single one is all of these."""


class SoundRequest(NamedTuple):
    """One audio stream; its result is (S,) float32 in [-1, 1], finite."""

    rate: int = 16000
    """samples per second"""
    audio: Choice = "default"
    channels: Channels = "mean"


class FileRequest(NamedTuple):
    """The file itself, undecoded: for text, numbers, or extractors that read the file in their own way."""

    parts: bool = False
    """whether the extractor can read from `start` to `end`; if not, rows that name a part are an error"""


class File(NamedTuple):
    """The result of a FileRequest."""

    path: Path
    start: float = 0.0
    """seconds; where the part begins"""
    end: float | None = None
    """seconds; where it ends, None = at the file's end"""


class MediaLimits(NamedTuple):
    """The largest media that are read; above these, memory or time could run out."""

    seconds: float = math.inf
    """of a film, or of the part of it that is read"""
    file_bytes: float = math.inf
    frame_bytes: float = math.inf
    """all kept frames of one request together"""
    roots: tuple[str, ...] | None = None
    """folders that files must lie in, and no URL is fetched; None = any file or URL"""


Request = FramesRequest | SoundRequest | FileRequest
Decoded = Frames | np.ndarray | File
