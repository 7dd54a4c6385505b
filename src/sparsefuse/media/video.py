"""Selects the requested frames of a decoded video: uint8 pixels with their times."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sparsefuse.files.declared import check_bytes
from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import import_av
from sparsefuse.media.orientation import orientation
from sparsefuse.media.part import MOST_SILENCE, START_GAP, Late, Part
from sparsefuse.media.request import Frames, FramesRequest

if TYPE_CHECKING:
    from av.stream import Stream
    from av.video.frame import VideoFrame

_ROOM = 2**28  # most bytes that are allocated because a header announces them
_PICTURE = 750_000_000  # bytes that a picture may take beside what any file may
_SLACK = 0.001  # seconds by which times are rounded, in matroska files as in tables


class FramesSink:
    """Takes the frames of a stream in the order they are shown, converts and keeps the requested ones.

    It holds one decoded frame, not the whole film. A part begins with the frame that is on the screen at its start.
    Points of the grid before the first frame, of a picture that begins after the sound, are black.
    """

    def __init__(self, request: FramesRequest, part: Part, *, frames: int, seconds: float, most_bytes: float) -> None:
        """`frames`, `seconds`: of the film by its header, 0 = not stated; `most_bytes`: of the kept frames."""
        check(request)
        self._expected = frames if request.rate is None else math.ceil(seconds * request.rate)
        self._rate, self._part, self._most_bytes = request.rate, part, most_bytes
        self._to_pixels = _converter(request.size, request.gray)
        self._kept = np.empty((0, 0, 0, 0), np.uint8)  # (capacity, H, W, C)
        self._times: list[float] = []
        self._most_points = self._points()
        self._origin = None if part.origin is None else float(part.origin)
        self._begin = 0.0  # seconds of the clip without a picture
        self._tick: float | None = None
        self._previous: _Timed | None = None
        self._last_kept: _Timed | None = None
        self.done = False

    def add(self, image: "VideoFrame") -> None:
        """Takes the next frame. Raises Late if frames of the part were missed before it."""
        frame = self._timed(image)
        if self._previous is None:
            if self._part.after_seek and frame.time > self._part.start + _SLACK:
                raise Late
            self._begin = frame.time if frame.time > START_GAP else 0.0
            if self._begin > MOST_SILENCE:
                raise Unusable(f"its picture begins {frame.time:.0f} s after its sound; write it again")
        else:
            self._keep(self._previous, frame)
        self._previous = frame
        self.done = self._reached(frame)

    def result(self) -> Frames:
        """What was kept. Raises Unusable if the film ends before the part begins."""
        last = self._previous
        assert last is not None, "the track has seen a frame"
        if not self.done:
            self._finish(last)
        if self._last_kept is None:
            raise Unusable(f"has no picture from {self._part.start:g} s on: it ends at {last.end:.2f} s")
        return Frames(self._kept[: len(self._times)], np.array(self._times, dtype=np.float64))

    def _timed(self, image: "VideoFrame") -> "_Timed":
        before = self._previous
        if self._origin is None:
            self._origin = image.time or 0.0
        if image.time is not None:
            time = image.time - self._origin
        else:
            time = before.end if before else 0.0  # no time stamp: right after the last
        if self._tick is None:
            self._tick = float(image.time_base or 0)
        duration = (image.duration or 0) * self._tick
        return _Timed(image, time, time + (duration or max(0.0, time - (before.time if before else time))))

    def _reached(self, frame: "_Timed") -> bool:
        """Whether all frames of the part have been read."""
        if self._part.end is None:
            return False
        if self._rate is None:
            return frame.time >= self._part.end - _SLACK
        return len(self._times) >= self._most_points

    def _points(self) -> float:
        """Number of points of the grid in the part; infinite without a grid or an end."""
        start, end = self._part.start, self._part.end
        return np.inf if self._rate is None or end is None else max(1, round((end - start) * self._rate))

    def _keep(self, frame: "_Timed", following: "_Timed") -> None:
        """Keeps a frame for as many points of the grid as it is shown at, now that the next one's time is known."""
        start = self._part.start
        if self._rate is None:
            slack = _SLACK if start else 0.0
            if not start or following.time > start + slack:
                self._append(frame, max(0.0, frame.time - start))
            return
        middle = (frame.time + following.time) / 2
        while (point := len(self._times)) < self._most_points and start + point / self._rate <= middle:
            self._append(frame, point / self._rate)

    def _finish(self, last: "_Timed") -> None:
        """The film's last frame, which may end before the part does."""
        start, end = self._part.start, self._part.end
        if self._rate is None:
            if (not start or last.end > start + _SLACK or last.time >= start - _SLACK) and (
                end is None or last.time < end - _SLACK
            ):
                self._append(last, max(0.0, last.time - start))
            return
        if start and last.end <= start + _SLACK and last.time < start - _SLACK:
            return
        points = min(self._most_points, max(1, round((last.end - start) * self._rate)))
        while len(self._times) < points:
            self._append(last, len(self._times) / self._rate)

    def _append(self, frame: "_Timed", time: float) -> None:
        count = len(self._times)
        black = self._part.start + time < self._begin - _SLACK
        if count and frame is self._last_kept:
            pixels = self._kept[count - 1]
        else:
            pixels = self._to_pixels(frame.image)
            pixels = np.zeros_like(pixels) if black else pixels
        if count == len(self._kept):
            if (count + 1) * pixels.nbytes > self._most_bytes:
                raise Unusable(
                    f"its frames at this rate and size fill more than {self._most_bytes / 1e9:g} GB; lower them, or "
                    "cut the film in parts by columns start and end"
                )
            self._grow(pixels)
        self._kept[count] = pixels
        self._times.append(time)
        self._last_kept = None if black else frame

    def _grow(self, pixels: np.ndarray) -> None:
        """Allocates room for more frames; only once where their number is known."""
        count = len(self._kept)
        room = max(32, count + count // 2)
        expected = self._expected if self._part.whole else self._most_points
        if not count and 0 < expected < np.inf:
            room = max(1, min(int(expected), _ROOM // pixels.nbytes))
        room = int(min(room, self._most_bytes // pixels.nbytes))
        larger = np.empty((room, *pixels.shape), np.uint8)
        if count:
            larger[:count] = self._kept
        self._kept = larger


class _Timed(NamedTuple):
    image: "VideoFrame"
    time: float  # seconds since the clip begins
    end: float


def check_frame(stream: "Stream", request: FramesRequest, path: Path) -> None:
    """Raises Unusable for a picture so large that it, and what is made of it, take far more memory than its file."""
    context: Any = stream.codec_context
    pixels = context.width * context.height
    bits = import_av().VideoFormat(context.pix_fmt).padded_bits_per_pixel if context.pix_fmt else 32
    made = 0 if request.size else 2 * pixels * (1 if request.gray else 3)  # the converted one, and that which is kept
    what = f"{path}: a picture of {context.width} x {context.height} pixels"
    check_bytes(pixels * bits // 8 + made, path.stat().st_size, f"{what}{' at full size' * (made > 0)}", _PICTURE)


def check(request: FramesRequest) -> None:
    """Raises ValueError for options that are out of range."""
    rate, size = request.rate, request.size
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate is {rate}, expected frames per second above 0, or None for every frame")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size is {size}, expected (height, width) in pixels, each at least 1")


def _converter(size: tuple[int, int] | None, gray: bool) -> "Callable[[VideoFrame], np.ndarray]":
    """Returns the function from a decoded frame to (H, W, C) pixels; swscale does the scaling and colours."""
    scaler = import_av().video.reformatter.VideoReformatter()
    upright = size
    form, channels = ("gray", 1) if gray else ("rgb24", 3)

    def convert(image: "VideoFrame") -> np.ndarray:
        nonlocal upright
        turn = orientation(image)
        if upright is None:  # a stream may change its size midway; the first frame decides
            upright = turn.size(image.height, image.width)
        height, width = turn.size(*upright)
        plane = scaler.reformat(image, width=width, height=height, format=form, interpolation="AREA", threads=1).planes[
            0
        ]
        rows = np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)
        return turn.upright(rows[:, : width * channels].reshape(height, width, channels))

    return convert
