"""A video or picture file comes in, its frames come out: uint8 pixels with their times."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sparsefuse.media.open import decoded, import_av
from sparsefuse.media.request import Frames

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


def read_frames(
    path: str | Path, *, rate: float | None = None, size: tuple[int, int] | None = None, gray: bool = False
) -> Frames:
    """Reads the first video stream, upright; a still picture is a video of one frame.

    `rate`: frames per second of a regular grid, each point showing the frame nearest in time (right for variable
    frame rates too); None = every frame. `size`: (height, width) in pixels; None = as it is.
    Raises Unusable when the file cannot be decoded whole.
    """
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate is {rate}, expected frames per second above 0, or None for every frame")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size is {size}, expected (height, width) in pixels, each at least 1")
    shown = _timed(decoded(path, "video"))
    to_pixels = _converter(size, gray)
    kept = [(frame.time, to_pixels(frame.image)) for frame in (shown if rate is None else _on_grid(shown, rate))]
    return Frames(np.stack([pixels for _, pixels in kept]), np.array([time for time, _ in kept], dtype=np.float64))


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the first video stream's first frame, upright. Raises Unusable if there is none."""
    image = next(decoded(path, "video"))
    return (image.width, image.height) if round(image.rotation / 90) % 2 else (image.height, image.width)


class _Timed(NamedTuple):
    image: "VideoFrame"
    time: float  # seconds since the first frame
    end: float


def _timed(images: "Iterable[VideoFrame]") -> Iterator[_Timed]:
    first, time, end = None, 0.0, 0.0
    for image in images:
        if first is None:
            first = image.time or 0.0
        before, time = time, end if image.time is None else image.time - first  # no time stamp: right after the last
        known = float(image.duration * image.time_base) if image.duration and image.time_base else 0.0
        end = time + (known or max(0.0, time - before))
        yield _Timed(image, time, end)


def _on_grid(frames: Iterable[_Timed], rate: float) -> Iterator[_Timed]:
    """At the times 0, 1/rate, 2/rate, ... the nearest frame; it holds one frame at a time, not the whole video."""
    previous, count = None, 0
    for frame in frames:
        while previous is not None and count / rate <= (previous.time + frame.time) / 2:
            yield previous._replace(time=count / rate)
            count += 1
        previous = frame
    if previous is not None:
        for point in range(count, max(1, round(previous.end * rate))):
            yield previous._replace(time=point / rate)


def _converter(size: tuple[int, int] | None, gray: bool) -> "Callable[[VideoFrame], np.ndarray]":
    """Gives the function from a decoded frame to (H, W, C) pixels; scaling and colour happen inside swscale."""
    scaler = import_av().video.reformatter.VideoReformatter()
    upright = size

    def convert(image: "VideoFrame") -> np.ndarray:
        nonlocal upright
        quarters = round(image.rotation / 90) % 4  # phones store a turned picture and say by how much
        if upright is None:  # a stream may change its size midway; the first frame decides
            upright = (image.width, image.height) if quarters % 2 else (image.height, image.width)
        height, width = upright[::-1] if quarters % 2 else upright
        form = "gray" if gray else "rgb24"
        scaled = scaler.reformat(image, width=width, height=height, format=form, interpolation="AREA")
        pixels = scaled.to_ndarray().reshape(height, width, -1)
        return np.ascontiguousarray(np.rot90(pixels, quarters))

    return convert
