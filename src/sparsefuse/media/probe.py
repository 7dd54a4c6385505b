"""Looks into a media file: streams, lengths, rates, sizes, loudness, brightness, movement.

It decodes parts, not all: a tenth of what extraction costs. What looks silent, black or still in the parts is looked at
closer, so that one quiet second does not make a clip silent.
"""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.open import STATES_LENGTH, TOLERATED, check_codec, check_on_disk, find_stream, import_av, opened
from sparsefuse.media.orientation import orientation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

SILENT = -60.0
"""dB below full scale: sound that never gets louder is silence."""
BLACK = 16
"""Of 255: a picture without anything brighter is black."""
STILL = 2
"""Of 255: frames whose pixels differ by no more are the same picture."""
FLOOR = -120.0
"""dB: the level reported for digital silence."""

_PARTS, _PART_SECONDS, _WHOLE_SECONDS = 5, 1.0, 10.0  # of sound: five parts of a second, or all if it is short
_PLACES = (0.05, 0.5, 0.9)  # of the picture: shares of its length
_CLOSER = 300  # frames that are looked at where the places show no movement
_SIDE = 32  # pixels; areas are averaged, so that the noise of a codec does not count as movement
_TEXT = (".txt", ".srt", ".vtt")


class Picture(NamedTuple):
    """The first video stream, or a still picture."""

    height: int
    """pixels, upright"""
    width: int
    rate: float
    """frames per second; 0 for a still picture or when the file does not say"""
    seconds: float
    brightest: float
    """0 to 255, over all frames looked at"""
    change: float
    """largest difference of a pixel between frames looked at, 0 to 255"""
    looked_at: int
    """frames"""


class Sound(NamedTuple):
    """The first audio stream."""

    rate: int
    """samples per second"""
    channels: int
    seconds: float
    peak: float
    """dB below full scale, FLOOR or above; of parts, but of all of it if it is below SILENT"""


class Probe(NamedTuple):
    """One media file. A text has neither picture nor sound."""

    bytes: int
    picture: Picture | None
    sound: Sound | None

    @property
    def seconds(self) -> float:
        """Of the longer stream; 0 when unknown."""
        return max((stream.seconds for stream in (self.picture, self.sound) if stream), default=0.0)

    @property
    def silent(self) -> bool:
        """Whether there is a sound stream and all of it is silence."""
        return self.sound is not None and self.sound.peak < SILENT

    @property
    def black(self) -> bool:
        """Whether all frames that were looked at are black."""
        return self.picture is not None and self.picture.brightest < BLACK

    @property
    def frozen(self) -> bool:
        """Whether it is a film in which nothing moves."""
        return self.picture is not None and self.picture.looked_at > 2 and self.picture.change <= STILL


def probe(path: str | Path) -> Probe:
    """Looks into one file. Raises Unusable when it is missing, empty, no media file, cut short or damaged."""
    path = Path(path)
    check_on_disk(path)
    size = path.stat().st_size
    if path.suffix.lower() in _TEXT:
        return _text(path, size)
    with opened(path) as container:
        if container.format.name == "tty":  # FFmpeg draws any text as a film
            raise Unusable(f"{path}: is a text file, expected a media file")
        video, audio = find_stream(container, "video"), find_stream(container, "audio")
        if video is None and audio is None:
            streams = ", ".join(sorted({s.type for s in container.streams})) or "none"
            raise Unusable(f"{path}: has neither picture nor sound; its streams: {streams}")
        for stream in (video, audio):
            if stream is not None:
                check_codec(stream, path)
        picture = _picture(container, video, path) if video is not None else None
        sound = _sound(container, audio, path) if audio is not None else None
        for stream in (video, audio):
            if stream is not None:
                _check_end(container, stream, path)
        return Probe(size, picture, sound)


def _text(path: Path, size: int) -> Probe:
    try:
        path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"{path}: is not UTF-8 text (byte {error.start})") from error
    return Probe(size, None, None)


def _seconds(container: "InputContainer", stream: "Stream") -> float:
    """As the header states it, or guessed by FFmpeg from the bit rate; 0 when unknown."""
    if stream.duration and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6  # FFmpeg counts a container's time in microseconds


class _Reader:
    """Frames of one stream from any place on, counting packets that cannot be decoded."""

    def __init__(self, container: "InputContainer", stream: "Stream") -> None:
        self.container, self.stream = container, stream
        self.packets = self.damaged = 0

    def packets_from(self, second: float, *, every_stream: bool = False) -> Iterator[Any]:
        from av.error import FFmpegError

        base = float(self.stream.time_base or 1)
        try:
            self.container.seek(round(second / base) + (self.stream.start_time or 0), stream=self.stream)
        except FFmpegError:  # no index, or a still picture: what follows is read from where the file stands
            if second > 0:
                yield from self.packets_from(0, every_stream=every_stream)
                return
        yield from self.container.demux() if every_stream else self.container.demux(self.stream)

    def frames_from(self, second: float) -> Iterator[Any]:
        """From the key frame before `second` on."""
        from av.error import InvalidDataError

        for packet in self.packets_from(second):
            self.packets += bool(packet.size)  # the empty one that flushes the decoder does not count
            try:
                yield from packet.decode()
            except InvalidDataError:
                self.damaged += 1

    def check(self, path: Path, any_frame: bool) -> None:
        """Raises Unusable if there was no frame, or too many packets could not be decoded."""
        if self.damaged > TOLERATED * self.packets:
            raise Unusable(
                f"{path}: is damaged ({self.damaged} of {self.packets} packets of its {self.stream.type} that were "
                "tried cannot be decoded); copy it again"
            )
        if not any_frame:
            raise Unusable(f"{path}: its {self.stream.type} stream is empty (no frame in {self.packets} packets)")


def _picture(container: "InputContainer", stream: Any, path: Path) -> Picture:
    seconds = _seconds(container, stream)
    reader = _Reader(container, stream)
    extremes = _Extremes(import_av().video.reformatter.VideoReformatter())
    for place in _PLACES:
        for image in islice(reader.frames_from(place * seconds), 1):
            extremes.add(image)
    # One key frame may serve all places: then, and if nothing moves, look at what follows the first.
    closer = reader.frames_from(0)
    while extremes.dull and extremes.num_added < _CLOSER and (image := next(closer, None)) is not None:
        extremes.add(image)
    reader.check(path, extremes.first is not None)
    height, width = orientation(extremes.first).size(extremes.first.height, extremes.first.width)
    return Picture(
        height,
        width,
        float(stream.average_rate or 0) if len(extremes.times) > 1 else 0.0,
        seconds,
        extremes.brightest,
        extremes.change,
        len(extremes.times),
    )


class _Extremes:
    """The darkest and brightest value of each pixel over frames made small and grey."""

    def __init__(self, scaler: Any) -> None:
        self.scaler = scaler
        self.first: Any = None
        self.num_added = 0
        self.times: set[int | None] = set()
        self.low = np.full((_SIDE, _SIDE), 255, np.int16)
        self.high = np.zeros((_SIDE, _SIDE), np.int16)

    def add(self, image: Any) -> None:
        self.first = self.first or image
        self.num_added += 1
        self.times.add(image.pts)
        small = self.scaler.reformat(image, width=_SIDE, height=_SIDE, format="gray", interpolation="AREA").to_ndarray()
        self.low, self.high = np.minimum(self.low, small), np.maximum(self.high, small)

    @property
    def dull(self) -> bool:
        return self.change <= STILL or self.brightest < BLACK

    @property
    def brightest(self) -> float:
        return float(self.high.max())

    @property
    def change(self) -> float:
        return float((self.high - self.low).max()) if self.times else 0.0


def _sound(container: "InputContainer", stream: Any, path: Path) -> Sound:
    seconds = _seconds(container, stream)
    reader = _Reader(container, stream)
    loudest, any_frame = 0.0, False
    parts = seconds > _WHOLE_SECONDS
    if parts:
        for i in range(_PARTS):
            begin = (seconds - _PART_SECONDS) * i / (_PARTS - 1)
            for frame in reader.frames_from(begin):
                any_frame = True
                loudest = max(loudest, _peak(frame))
                if frame.time is None or frame.time >= begin + _PART_SECONDS:
                    break
    if not parts or _decibels(loudest) < SILENT:
        for frame in reader.frames_from(0):
            any_frame = True
            loudest = max(loudest, _peak(frame))
            if parts and _decibels(loudest) >= SILENT:
                break
    reader.check(path, any_frame)
    return Sound(stream.rate, stream.channels, seconds, _decibels(loudest))


def _peak(frame: Any) -> float:
    """The largest sample of a frame, as a share of full scale."""
    samples = frame.to_ndarray()
    if samples.size == 0:
        return 0.0
    if samples.dtype.kind == "f":
        return float(np.abs(samples).max())
    middle = 128 if samples.dtype == np.uint8 else 0
    return float(np.abs(samples.astype(np.float64) - middle).max()) / 2.0 ** (8 * samples.itemsize - 1)


def _decibels(share: float) -> float:
    return max(FLOOR, 20 * math.log10(share)) if share > 0 else FLOOR


def _check_end(container: "InputContainer", stream: "Stream", path: Path) -> None:
    """Raises Unusable unless there are packets near the end that the header states."""
    stated = _seconds(container, stream)
    if not stated or not STATES_LENGTH.intersection(container.format.name.split(",")):
        return
    start = float((stream.start_time or 0) * stream.time_base) if stream.time_base is not None else 0.0
    own_length = bool(stream.duration)  # else only the file's is known, and another stream may be the longest
    reached = 0.0
    for packet in _Reader(container, stream).packets_from(max(0.0, stated - 1), every_stream=not own_length):
        if packet.pts is not None and packet.time_base is not None:
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if reached - start * own_length < (1 - TOLERATED) * stated:
        raise Unusable(
            f"{path}: was cut short: its {stream.type} ends at {reached:.2f} s, its header says "
            f"{start * own_length + stated:.2f} s; copy it again"
        )
