"""Joins decoded pieces of sound into one float32 wave."""

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsefuse.files.skipped import Unusable
from sparsefuse.media.part import MOST_SILENCE, First, Late, Part
from sparsefuse.media.request import Channels, SoundRequest

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.stream import Stream

_WARM = 4096  # samples until a decoder or filter that began midway gives the same as one that began at the beginning
_FIXED = ("aac", "opus", "mp3", "mp2", "ac3", "eac3")  # codecs whose packets are all of one length
ROUNDING = 0.003  # seconds; matroska rounds times to milliseconds, twice
_OFF = 0.0005  # seconds; finer containers keep what a file was copied from has rounded
_BLOCK = 2**16  # samples of silence at a time


class SoundSink:
    """Takes the sound of a stream and gives its samples at the requested rate, of a part or of all.

    Sample n is at time n / rate of the clip: silence stands where the sound begins after the picture and in holes of
    its time stamps, and what overlaps is cut. A part is cut at the very samples that reading all of it gives. Their
    values are the same too, but for the noise that some codecs (AAC) have their decoder make up.
    """

    def __init__(self, request: SoundRequest, part: Part, stream: "Stream") -> None:
        check(request)
        from av.audio.resampler import AudioResampler

        self._channels: Channels = request.channels
        # The channels are joined in result(): FFmpeg's own downmix adds them at 0.7 each, which leaves [-1, 1].
        self._resampler = AudioResampler(format="fltp", rate=request.rate)
        self._rate, self._part, self._codec = request.rate, part, stream.codec_context.codec.canonical_name
        self._first = part.firsts.get(stream.index)
        self._pieces: list[np.ndarray] = []  # (channels, samples)
        self._position: int | None = None if part.after_seek else 0  # of the next piece, in samples of the file
        self._file_rate = 0  # of these samples; 0 until the first piece
        self._jumped = False
        self._silence = 0  # samples put into holes
        self._lengths: set[int] = set()  # of the pieces but the first
        self._edges: tuple[int, int | None] | None = None  # of the file's samples that the part's depend on
        self._offset: int | None = None  # output sample that the resampler began with
        self.done = False

    def add(self, piece: "AudioFrame") -> None:
        """Takes the next piece. Raises Late if samples of the part were missed before it, Unusable for a time stamp
        that is too far off."""
        if self._file_rate not in (0, piece.sample_rate):
            raise Unusable(
                f"its sound changes rate midway, from {self._file_rate} to {piece.sample_rate} Hz; convert it first"
            )
        self._file_rate = piece.sample_rate
        if self._position is None and not self._jumped:
            self._jumped = True  # decoders trim the first piece after a jump, and matroska does not say so
            return
        place = self._place(piece)
        if self._position:
            self._lengths.add(piece.samples)
        if self._position is None:
            self._position = place
        self._silence += max(0, place - self._position)
        if self._silence > MOST_SILENCE * piece.sample_rate:
            raise Unusable(f"its sound pauses until {float(piece.time or 0):.0f} s by its time stamps; write it again")
        while place > self._position and not self.done:
            self._take(_silent(piece, min(_BLOCK, place - self._position)))
        overlap = self._position - place
        if overlap < piece.samples and not self.done:
            self._take(_without(piece, overlap))

    def result(self) -> np.ndarray:
        """(S,) float32 in [-1, 1]. Raises Unusable if there is none, or if it is not finite."""
        if self._offset is not None:
            self._resample(None)  # what the filter still holds
        channels = np.concatenate(self._pieces or [np.empty((1, 0), np.float32)], axis=1)  # (channels, S)
        channels = self._cut(channels)
        if channels.shape[1] == 0:
            raise Unusable(
                "its sound has zero length"
                if self._part.whole
                else f"has no sound from {self._part.start:g} s to {self._part.end or float('inf'):g} s"
            )
        bad = channels.size - int(np.isfinite(channels).sum())
        if bad:
            raise Unusable(f"{bad} of {channels.size} sound samples are NaN or infinite, expected finite numbers")
        return np.clip(joined(channels, self._channels), -1, 1)  # lossy codecs overshoot a little

    def _take(self, piece: "AudioFrame") -> None:
        """Takes a piece that begins at the position."""
        position = self._position
        assert position is not None
        first, last = self._edges = self._edges or self._span(piece.sample_rate)
        self._position = position + piece.samples
        if self._offset is None:
            if position > first:
                raise Late
            if self._position <= first:
                return
            piece, self._offset = _without(piece, first - position), first * self._rate // piece.sample_rate
        self._resample(piece)
        self.done = last is not None and self._position >= last

    def _resample(self, piece: "AudioFrame | None") -> None:
        try:
            self._pieces += [_samples(done) for done in self._resampler.resample(piece)]
        except ValueError as error:
            raise Unusable(f"its sound changes rate or channels midway ({error}); convert it first") from error

    def _bounds(self) -> tuple[int, int | None]:
        """The part's first sample, below 0 if the sound begins after it, and the one after its last."""
        late = 0 if self._first is None or self._part.origin is None else self._first.time - self._part.origin
        if late > MOST_SILENCE:
            raise Unusable(f"its sound begins {float(late):.0f} s after its picture by its time stamps; write it again")
        begin, end = round(late * self._rate), self._part.end
        last = None if end is None else round(Fraction(end) * self._rate) - begin
        return round(Fraction(self._part.start) * self._rate) - begin, last

    def _span(self, rate: int) -> tuple[int, int | None]:
        """The samples of the file, at its `rate` per second, that the part's samples depend on."""
        first, last = self._bounds()
        step = rate // math.gcd(rate, self._rate)  # this many samples of the file are a whole number of output samples
        begin = max(0, (first * rate // self._rate - _WARM) // step * step)
        return begin, None if last is None else last * rate // self._rate + _WARM

    def _place(self, piece: "AudioFrame") -> int:
        """The number of the piece's first sample: the position, unless its time stamp differs by more than rounding.
        Late if the position is not known, and the time stamp is too coarse to tell."""
        if piece.pts is None or piece.time_base is None:
            if self._position is None:
                raise Late
            return self._position
        rate, rounding, tick = piece.sample_rate, ROUNDING * piece.sample_rate, piece.time_base
        self._first = self._first or First(piece.pts * tick, piece.samples)
        fine = tick.numerator * rate <= tick.denominator
        if self._position is not None:
            off = abs((piece.pts * float(tick) - float(self._first.time)) * rate - self._position)
            if self._part.after_seek and fine and _OFF * rate < off <= rounding:
                raise Late  # stamps are rounded more than they need be: that of the first piece after the jump too
            if off <= rounding:
                return self._position
        stamp = (piece.pts * tick - self._first.time) * rate
        snapped = self._first.samples + piece.samples * round((stamp - self._first.samples) / piece.samples)
        most = _OFF * rate if fine else rounding
        even = self._codec in _FIXED or self._lengths == {piece.samples}
        if even and piece.samples > 2 * most and abs(snapped - stamp) <= most:
            return snapped
        if self._position is None and not fine:
            raise Late
        return round(stamp)

    def _cut(self, channels: np.ndarray) -> np.ndarray:
        """The part of (channels, S), which begins at `offset`; silence stands where the sound begins later."""
        first, last = self._bounds()
        offset = self._offset or 0
        cut = channels[:, max(0, first - offset) : None if last is None else max(0, last - offset)]
        return np.pad(cut, ((0, 0), (max(0, -first), 0))) if cut.shape[1] else cut


def joined(channels: np.ndarray, how: Channels) -> np.ndarray:
    """(channels, S) float32 to (S,)."""
    if how == "mean":
        return channels.mean(axis=0, dtype=np.float32)
    if how == "max":
        return channels[np.square(channels).sum(axis=1).argmax()]
    return channels[min(("left", "right").index(how), len(channels) - 1)]


def _samples(piece: "AudioFrame") -> np.ndarray:
    """(channels, samples) of a piece of planar float32; PyAV's own `to_ndarray` takes ten times as long."""
    planes: Any = piece.planes  # they are buffers, which their type does not say
    rows = [np.frombuffer(plane, np.float32, piece.samples) for plane in planes]
    return rows[0][None] if len(rows) == 1 else np.stack(rows)


def _without(piece: "AudioFrame", count: int) -> "AudioFrame":
    """The piece without its first samples."""
    if not count:
        return piece
    from av.audio.frame import AudioFrame

    values: Any = piece.to_ndarray()  # (channels, samples), or (1, samples * channels)
    per_sample = 1 if piece.format.is_planar else piece.layout.nb_channels
    kept = np.ascontiguousarray(values[:, count * per_sample :])
    rest = AudioFrame.from_ndarray(kept, format=piece.format.name, layout=piece.layout.name)
    rest.sample_rate = piece.sample_rate
    return rest


def _silent(piece: "AudioFrame", count: int) -> "AudioFrame":
    """As many samples of silence, of the kind of the piece."""
    from av.audio.frame import AudioFrame

    silence = AudioFrame(format=piece.format, layout=piece.layout, samples=count)
    zero = b"\x80" if piece.format.name in ("u8", "u8p") else b"\0"
    for plane in silence.planes:
        plane.update(zero * plane.buffer_size)
    silence.sample_rate = piece.sample_rate
    return silence


def check(request: SoundRequest) -> None:
    """Raises ValueError for options that are out of range."""
    if request.rate < 1:
        raise ValueError(f"rate is {request.rate}, expected samples per second of at least 1")
