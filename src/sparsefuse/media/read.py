"""Reads one file for several extractors: the requests in, each one's frames, sound or error out.

One pass serves them all: the file is read once, each stream decoded once.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import Kind, Track, appended, clip_begin, first_stream, opened, packets, stated_end
from sparsefuse.media.orientation import orientation
from sparsefuse.media.part import First, Late, Part
from sparsefuse.media.request import (
    Channels,
    Choice,
    Decoded,
    File,
    FileRequest,
    Frames,
    FramesRequest,
    MediaLimits,
    Request,
    SoundRequest,
)
from sparsefuse.media.sound import SoundSink
from sparsefuse.media.video import FramesSink, check_frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

NO_LIMITS = MediaLimits()
_AHEAD = (0.5, 5.0)  # seconds before a part where reading it begins; if that is too late, the next, then at 0
_SPARE = 60.0  # seconds by which reading goes beyond a part, and more
# Formats whose time stamps after a jump are those that reading from the beginning gives.
_SEEKABLE = {"mov", "mp4", "matroska", "webm", "mpegts", "wav"}


def read(
    path: str | Path,
    requests: Sequence[Request],
    *,
    start: float = 0.0,
    end: float | None = None,
    limits: MediaLimits = NO_LIMITS,
) -> list[Decoded | Unusable]:
    """The result of each request, in order; an Unusable in the place of one that cannot be fulfilled.

    `start`, `end`: seconds since the clip begins: where the first of its streams, picture or sound, does.
    Raises ValueError for a wrong request, or a part that ends before it starts.
    """
    if not 0 <= start < float("inf") or (end is not None and not start < end):
        raise ValueError(f"the part from {start} s to {end} s: expected 0 <= start < end")
    path = Path(path)
    film = _Film(path, [r for r in dict.fromkeys(requests) if not isinstance(r, FileRequest)], limits)
    if film.requests:
        film.read(start, end)
    return [File(path, start, end) if isinstance(r, FileRequest) else film.results[r] for r in requests]


def read_frames(
    path: str | Path, *, rate: float | None = None, size: tuple[int, int] | None = None, gray: bool = False
) -> Frames:
    """Reads a film's default video stream, upright; a still picture is a video of one frame.

    `rate`: frames per second of a regular grid, each point showing the frame nearest in time (right for variable
    frame rates too); None = every frame. `size`: (height, width) in pixels; None = as it is.
    Raises Unusable when the file cannot be decoded whole.
    """
    (frames,) = read(path, [FramesRequest(rate, size, gray)])
    if isinstance(frames, Unusable):
        raise frames
    assert isinstance(frames, Frames), frames
    return frames


def read_sound(
    path: str | Path, *, rate: int = 16000, audio: Choice = "default", channels: Channels = "mean"
) -> np.ndarray:
    """Reads a file's sound: (S,) float32 in [-1, 1], `rate` samples a second.

    `audio`: the stream that the container plays by default, the first, or by number, from 0. `channels`: their mean,
    the left or right one, or the loudest (max).
    Raises Unusable when the file has no sound or cannot be decoded whole.
    """
    (sound,) = read(path, [SoundRequest(rate, audio, channels)])
    if isinstance(sound, Unusable):
        raise sound
    assert isinstance(sound, np.ndarray), sound
    return sound


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the first video stream's first frame, upright. Raises Unusable if there is none."""
    path = Path(path)
    with opened(path) as container:
        image = _first_frame(container, first_stream(container, "video", path), path)
        return orientation(image).size(image.height, image.width)


Sink = FramesSink | SoundSink


class _Film:
    """One film while its requests are read."""

    def __init__(self, path: Path, requests: Iterable[FramesRequest | SoundRequest], limits: MediaLimits) -> None:
        self.path, self.requests, self.limits = path, list(requests), limits
        self.results: dict[Request, Decoded | Unusable] = {}

    def read(self, start: float, end: float | None) -> None:
        """Fills `results`."""
        try:
            part = Part(start, end)
            if part.whole:
                self._pass(part)
                return
            part = self._known(part)
            for ahead in _AHEAD:
                if start > ahead:
                    with suppress(Late):
                        self._pass(part._replace(after_seek=True), start - ahead)
                        return
            self._pass(part)
        except Unusable as error:
            self.results = dict.fromkeys(self.requests, error)

    def _known(self, part: Part) -> Part:
        """The part with the time stamp at which the clip begins, and the first pieces of its sound."""
        with opened(self.path) as container:
            origin = clip_begin(container)
        sounds: set[Choice] = {request.audio for request in self.requests if isinstance(request, SoundRequest)}
        found = [self._first("audio", which) for which in sounds]
        if origin is None:
            found += [self._first("video", "default"), self._first("audio", "default")]
        firsts = dict(first for first in found if first)
        if origin is None:
            origin = min((first.time for first in firsts.values()), default=None)
        return part._replace(origin=origin, firsts=firsts)

    def _first(self, kind: Kind, which: Choice) -> tuple[int, First] | None:
        """Number and first frame of a stream; None if there is none."""
        with opened(self.path) as container:
            try:
                stream = first_stream(container, kind, self.path, which)
                frame = _first_frame(container, stream, self.path)
            except Unusable:
                return None  # a request for this stream gets the error when it is read
            time = Fraction(0) if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            return stream.index, First(time, getattr(frame, "samples", 0))

    def _pass(self, part: Part, target: float | None = None) -> None:
        """Reads the film once, from `target` on (seconds since its first frame) or from its beginning. Raises Late."""
        self.results = {}
        with opened(self.path) as container:
            if part.whole:
                part = part._replace(origin=clip_begin(container))
            sinks = self._sinks(container, part)
            if target is not None and sinks:
                stream = min(sinks, key=lambda track: track.stream.type != "video").stream
                _seek(container, stream, target, part, self.path)
            ended = self._fill(container, sinks)
            for track, by_request in sinks.items():
                self._finish(container, track, by_request, ended)

    def _sinks(self, container: "InputContainer", part: Part) -> dict[Track, dict[Request, Sink]]:
        """A sink for every request, by the stream that it takes frames of."""
        if self.path.stat().st_size > self.limits.file_bytes:
            size = self.path.stat().st_size
            raise Unusable(
                f"{self.path}: has {size / 1e9:.3g} GB, more than {self.limits.file_bytes / 1e9:g}, the limit"
            )
        tracks: dict[int, Track] = {}
        sinks: dict[Track, dict[Request, Sink]] = {}
        for request in self.requests:
            kind: Kind = "video" if isinstance(request, FramesRequest) else "audio"
            try:
                which = "default" if isinstance(request, FramesRequest) else request.audio
                stream = self._stream(container, kind, which, part)
                if isinstance(request, FramesRequest):
                    check_frame(stream, request, self.path)
            except Unusable as error:
                self.results[request] = error
                continue
            track = tracks.setdefault(stream.index, Track(stream, self.path))
            if isinstance(request, FramesRequest):
                stated = {"frames": track.stream.frames, "seconds": stated_end(container, track.stream)}
                sink = FramesSink(request, part, **stated, most_bytes=self.limits.frame_bytes)
                sinks.setdefault(track, {})[request] = sink
            else:
                sinks.setdefault(track, {})[request] = SoundSink(request, part, track.stream)
        return sinks

    def _stream(self, container: "InputContainer", kind: Kind, which: Choice, part: Part) -> "Stream":
        stream = first_stream(container, kind, self.path, which)
        self._check_seconds((stated_end(container, stream) if part.end is None else part.end) - part.start)
        return stream

    def _check_seconds(self, seconds: float) -> None:
        if seconds > self.limits.seconds:
            raise Unusable(
                f"{self.path}: lasts {seconds:.0f} s, more than {self.limits.seconds:g}, the limit; cut it in parts by "
                "columns start and end, or raise the limit"
            )

    def _fill(self, container: "InputContainer", sinks: dict[Track, dict[Request, Sink]]) -> bool:
        """Decodes frames into the sinks; returns whether the file was read to its end."""
        open_tracks = list(sinks)
        for track, packet in packets(container, list(sinks)):
            if track not in open_tracks:
                continue
            by_request = sinks[track]
            try:
                for frame in track.decode(packet):
                    self._add(by_request, frame)
                self._check_seconds(track.seconds_read - _SPARE)  # the header may have said less
            except Unusable as error:
                self.results |= dict.fromkeys(by_request, error)
                by_request.clear()
            if all(sink.done for sink in by_request.values()):
                open_tracks.remove(track)
            if not open_tracks:
                return False
        return True

    def _add(self, by_request: dict[Request, Sink], frame: Any) -> None:
        failed = []
        for request, sink in by_request.items():
            if not sink.done:
                try:
                    sink.add(frame)
                except Unusable as error:
                    self.results[request] = _named(self.path, error)
                    failed.append(request)
        for request in failed:
            del by_request[request]

    def _finish(self, container: "InputContainer", track: Track, by_request: dict[Request, Sink], ended: bool) -> None:
        done = bool(by_request) and all(sink.done for sink in by_request.values())
        try:
            if by_request and not (done and not ended):
                track.check_frames()
                track.check_end(container)
        except Unusable as error:
            self.results |= dict.fromkeys(by_request, error)
            return
        for request, sink in by_request.items():
            try:
                self.results[request] = sink.result()
            except Unusable as error:
                self.results[request] = _named(self.path, error)


def _first_frame(container: "InputContainer", stream: Any, path: Path) -> Any:
    track = Track(stream, path)
    for _, packet in packets(container, [track]):
        for frame in track.decode(packet):
            return frame
    track.check_frames()
    raise AssertionError(f"{path}: a stream without frames passed the check")


def _seek(container: "InputContainer", stream: Any, seconds: float, part: Part, path: Path) -> None:
    """Seeks the key frame at or before `seconds` of the film. Raises Late where seeking is unreliable."""
    if not _SEEKABLE.intersection(container.format.name.split(",")) or not stream.time_base:
        raise Late
    if container.format.name == "mpegts" and appended(path, path.stat().st_mtime_ns):
        raise Late
    container.seek(int((seconds + float(part.origin or 0)) / stream.time_base), stream=stream)


def _named(path: Path, error: Unusable) -> Unusable:
    return Unusable(f"{path}: {error}")
