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
from sparsefuse.media.open import (
    STATES_LENGTH,
    TOLERATED,
    Joined,
    check_codec,
    check_on_disk,
    find_stream,
    import_av,
    opened,
    repeats,
)
from sparsefuse.media.orientation import orientation
from sparsefuse.media.sound import ROUNDING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

SILENT = -60.0
"""dB below full scale: sound that never gets louder is silence."""
BLACK = 16
"""Of 255: a picture without anything brighter is black."""
STILL = 2
"""Of 255: frames whose pixels differ by no more are the same picture."""
CANCELLED = 20.0
"""dB that the mean of the channels may be below the loudest of them."""
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
    """The audio stream that plays by default."""

    rate: int
    """samples per second"""
    channels: int
    seconds: float
    peak: float
    """dB below full scale, FLOOR or above, of the mean of the channels; of parts, but of all of it if below SILENT"""
    loudest: float
    """the same of the loudest channel"""
    holes: int
    """in its time stamps"""
    silence: float
    """seconds of these holes, which reading fills with silence"""


class Probe(NamedTuple):
    """One media file. A text has neither picture nor sound."""

    bytes: int
    picture: Picture | None
    sound: Sound | None
    late: float = 0.0
    """seconds by which the sound begins after the picture; below 0, before it"""
    seconds: float = 0.0
    """from where the first stream begins to where the last one ends; 0 when unknown"""

    @property
    def silent(self) -> bool:
        """Whether there is a sound stream and all of it is silence once its channels are joined."""
        return self.sound is not None and self.sound.peak < SILENT

    @property
    def cancels(self) -> bool:
        """Whether the mean of the channels is much quieter than one of them."""
        return self.sound is not None and self.sound.peak < self.sound.loudest - CANCELLED

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
        if sound is not None:
            count, silence = _holes(container, audio)
            sound = sound._replace(holes=count, silence=silence)
        late = _late(video, audio)
        begins = [(video, max(0.0, -late)), (audio, max(0.0, late))]  # a container's length counts from the first
        ends = [_seconds(container, s) + begin * bool(s.duration) for s, begin in begins if s is not None]
        return Probe(size, picture, sound, late, max(ends))


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
            if repeats(packet):
                continue
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
    peaks, any_frame = (0.0, 0.0), False
    parts = seconds > _WHOLE_SECONDS
    if parts:
        for i in range(_PARTS):
            begin = (seconds - _PART_SECONDS) * i / (_PARTS - 1)
            for frame in reader.frames_from(begin):
                any_frame = True
                peaks = _louder(peaks, frame)
                if frame.time is None or frame.time >= begin + _PART_SECONDS:
                    break
    if not parts or _decibels(peaks[0]) < SILENT:
        for frame in reader.frames_from(0):
            any_frame = True
            peaks = _louder(peaks, frame)
            if parts and _decibels(peaks[0]) >= SILENT:
                break
    reader.check(path, any_frame)
    return Sound(stream.rate, stream.channels, seconds, *map(_decibels, peaks), holes=0, silence=0.0)


def _louder(peaks: tuple[float, float], frame: Any) -> tuple[float, float]:
    """The largest sample of the mean of the channels and of any of them, as shares of full scale."""
    stored = frame.to_ndarray()  # (channels, samples), or (1, samples * channels)
    if stored.size == 0:
        return peaks
    samples = stored.astype(np.float64)
    if stored.dtype.kind != "f":
        samples = (samples - (128 if stored.dtype == np.uint8 else 0)) / 2.0 ** (8 * stored.itemsize - 1)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return max(peaks[0], float(np.abs(samples.mean(0)).max())), max(peaks[1], float(np.abs(samples).max()))


def _holes(container: "InputContainer", stream: Any) -> tuple[int, float]:
    """Number and seconds of the holes in a sound's time stamps, by those of all its packets, half of one or longer."""
    from av.stream import Discard

    for other in container.streams:
        if other.index != stream.index and other.type != "audio":
            other.discard = Discard.all  # they need not be read
    tick, joined = float(stream.time_base or 0), Joined(container)
    stamps, lengths = [], []
    for packet in _Reader(container, stream).packets_from(0):
        joined.follow(packet)
        if packet.pts is not None:
            stamps.append(packet.pts * tick)
            lengths.append((packet.duration or 0) * tick)
    if len(stamps) < 3:
        return 0, 0.0
    steps, known = np.diff(stamps), np.array(lengths[:-1])
    usual = float(np.median(steps))
    # An mp4 says when the next packet begins, not how long one is.
    stepped = "mp4" in container.format.name and not stream.codec_context.name.startswith("pcm")
    gaps = steps - np.where(known > 0, np.minimum(known, usual) if stepped else known, usual)
    holes = gaps[gaps > max(ROUNDING, usual / 2)]
    return len(holes), float(holes.sum())


def _late(video: "Stream | None", audio: "Stream | None") -> float:
    """Seconds by which the sound begins after the picture; 0 if one is missing or does not say."""
    starts = [s.start_time * s.time_base for s in (video, audio) if s and s.start_time is not None and s.time_base]
    return float(starts[1] - starts[0]) if len(starts) == 2 else 0.0


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
