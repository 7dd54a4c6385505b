"""Opens a media file and decodes the frames of its streams; errors say in plain words what is wrong with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.media.part import Late
from sparsefuse.media.request import Choice

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

Kind = Literal["video", "audio"]

# Formats whose header states the length. Elsewhere FFmpeg guesses it from the bit rate, which proves nothing.
STATES_LENGTH = {"mov", "mp4", "matroska", "webm", "avi", "wav", "flv", "asf", "w64", "aiff"}
# Playlists (hls, dash, concat ...) are left out: they name other files, which FFmpeg would open and read as the clip.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpeg,mpegvideo,mpegts,m4v,h264,hevc,wav,w64,mp3,flac,ogg,aac,"
    "aiff,caf,amr,gif,apng,image2,jpeg_pipe,png_pipe,bmp_pipe,webp_pipe,tty"
)
_BACK, _LEAP = 0.5, 10.0  # seconds; FFmpeg takes a leap of 10 s for another recording, too
TOLERATED = 0.1  # share of a stream that may be missing or damaged: cutting tools round, old recordings have glitches


@contextmanager
def opened(path: Path) -> "Iterator[InputContainer]":
    """The file's container. Raises Unusable when the file is missing, empty, no media file or damaged, here or later
    within the block."""
    av = import_av()
    check_on_disk(path)
    try:
        # "file:" keeps a name such as `a:b.mp4` from being read as a protocol.
        options = {"format_whitelist": _FORMATS}
        file = f"file:{path}"
        with (
            one_file(path, av.error.FFmpegError, Late),
            av.open(file, options=options, **_lenient(av.__version__)) as container,
        ):
            yield container
    except av.error.FFmpegError as error:
        raise Unusable(unreadable(path, error.strerror or type(error).__name__)) from error


def _lenient(version: str) -> dict[str, Any]:
    """What makes titles that are no UTF-8 no error of `av.open`; from PyAV 19 on they are none, and it knows no such
    argument."""
    return {"metadata_errors": "ignore"} if int(version.split(".")[0]) < 19 else {}


def first_stream(container: "InputContainer", kind: Kind, path: Path, which: Choice = "default") -> "Stream":
    """As `find_stream`. Raises Unusable if there is none."""
    stream = find_stream(container, kind, which)
    if container.format.name == "tty":  # FFmpeg draws any text file as a film
        raise Unusable(f"{path}: is a text file, expected a media file")
    if stream is None:
        streams = ", ".join(sorted({s.type for s in container.streams})) or "none"
        what = {"video": "no picture (no video stream)", "audio": "no sound (no audio stream)"}[kind]
        if isinstance(which, int) and find_stream(container, kind):
            what = f"no audio stream of number {which}, counted from 0"
        raise Unusable(f"{path}: has {what}; its streams: {streams}")
    check_codec(stream, path)
    # One thread a file: files are read in parallel, and damaged ones then decode to the same frames every time.
    stream.codec_context.thread_count = 1
    return stream


def check_codec(stream: "Stream", path: Path) -> None:
    """Raises Unusable if nothing can decode the stream."""
    if stream.codec_context is None:
        raise Unusable(f"{path}: its {stream.type} stream is of a codec that is not known")


def find_stream(container: "InputContainer", kind: Kind, which: Choice = "default") -> "Stream | None":
    """The file's stream of that kind, None if there is none; the cover picture of a song does not count as video."""
    from av.stream import Disposition

    streams = [s for s in container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]
    if which == "default":
        streams.sort(key=lambda stream: not stream.disposition & Disposition.default)  # of several, the first
    number = which if isinstance(which, int) else 0
    return streams[number] if 0 <= number < len(streams) else None


def clip_begin(container: "InputContainer") -> Fraction | None:
    """The time stamp, in seconds, at which the first stream of picture or sound begins, whichever are requested: so
    features that are read one by one are in step. None if a single stream says when: its first frame tells better."""
    streams = [stream for stream in (find_stream(container, "video"), *container.streams.audio) if stream]
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base is not None]
    return min(starts) if len(starts) > 1 else None


class Track:
    """A stream while it is decoded: counts packets and frames, to tell whether it is complete."""

    def __init__(self, stream: "Stream", path: Path) -> None:
        self.stream, self._path = stream, path
        self._reached, self._packets, self._damaged, self._frames = 0.0, 0, 0, 0
        self._begin: float | None = None
        self._tick = float(stream.time_base or 0)
        self.own_length = bool(stream.duration)

    def decode(self, packet: "Packet") -> list[Any]:
        """The frames that a packet of this stream completes, in the order they are shown; a damaged one gives none."""
        from av.error import FFmpegError, InvalidDataError

        self.note(packet)
        if repeats(packet):
            return []
        self._packets += 1
        try:
            frames: list[Any] = packet.decode()
        except InvalidDataError:
            self._damaged += 1
            return []
        except FFmpegError as error:
            raise Unusable(f"{self._path}: its {self.stream.type} stream cannot be decoded ({error})") from error
        self._frames += len(frames)
        return frames

    def note(self, packet: "Packet") -> None:
        """Notes how far the file goes. Without a length of the stream only the file's is known, and another stream
        may be the longest."""
        ours = packet.stream.index == self.stream.index
        if packet.pts is None:
            return
        tick = self._tick if ours else float(packet.time_base or 0)
        end = (packet.pts + (packet.duration or 0)) * tick
        if self._begin is None:
            self._begin = end
        self._reached = max(self._reached, end)

    @property
    def seconds_read(self) -> float:
        """Seconds of the stream that packets were taken from."""
        return 0.0 if self._begin is None else self._reached - self._begin

    def check_frames(self) -> None:
        """Raises Unusable if too many packets were damaged, or there was no frame."""
        packets = self._packets - 1  # the last is the empty one that flushes the decoder
        if self._frames == 0:
            raise Unusable(f"{self._path}: its {self.stream.type} stream is empty (no frame in {packets} packets)")
        if self._damaged > TOLERATED * self._packets:
            raise Unusable(
                f"{self._path}: is damaged ({self._damaged} of {self._packets} packets cannot be decoded); "
                "copy it again"
            )

    def check_end(self, container: "InputContainer") -> None:
        """Raises Unusable if the stream, read to its end, is shorter than the header says."""
        stated = stated_end(container, self.stream)
        if self._reached < (1 - TOLERATED) * stated:
            raise Unusable(
                f"{self._path}: was cut short: it ends at {self._reached:.2f} s, its header says {stated:.2f} s; "
                "copy it again"
            )


def repeats(packet: "Packet") -> bool:
    """Whether it is an empty packet, by which the frame before stays; to a decoder that would mean the end."""
    return packet.size == 0 and packet.dts is not None


def packets(container: "InputContainer", tracks: "Sequence[Track]") -> "Iterator[tuple[Track, Packet]]":
    """Every packet of the tracks' streams in the order of the file, then an empty one for each."""
    by_index = {track.stream.index: track for track in tracks}
    joined = Joined(container)
    for packet in container.demux():
        joined.follow(packet)
        track = by_index.get(packet.stream.index)
        if track is not None:
            yield track, packet
        for other in tracks:
            if other is not track and not other.own_length:
                other.note(packet)


class Joined:
    """Makes recordings that were appended to one another, each with time stamps of its own, follow on."""

    def __init__(self, container: "InputContainer") -> None:
        from av.format import Flags

        self._may_leap = bool(container.format.flags & Flags.ts_discont.value)
        streams = [stream for stream in container.streams if stream.type in ("video", "audio") and stream.time_base]
        self._ticks = {stream.index: float(stream.time_base or 0) for stream in streams}  # seconds
        self._ends: dict[int, float] = {}  # of each stream
        self._parts = dict.fromkeys(self._ticks, 0)  # which one each stream is in: their packets mix where they meet
        self.offsets = [0.0]
        """seconds by which each recording is moved"""

    def follow(self, packet: "Packet") -> None:
        """Moves the packet's time stamps; a part begins where those of its stream go back, or leap over all."""
        index, dts = packet.stream.index, packet.dts
        if dts is None or index not in self._ticks:
            return
        tick = self._ticks[index]
        time, end = dts * tick + self.offsets[self._parts[index]], self._ends.get(index)
        if end is not None and (
            time < end - _BACK or (self._may_leap and time > end + _LEAP and time > max(self._ends.values()) + _LEAP)
        ):
            self._parts[index] += 1
            if self._parts[index] == len(self.offsets):
                self.offsets.append(max(self._ends.values()) - dts * tick)
            time = dts * tick + self.offsets[self._parts[index]]
        self._ends[index] = time + (packet.duration or 0) * tick
        if moved := round(self.offsets[self._parts[index]] / tick):
            packet.dts = dts + moved
            packet.pts = None if packet.pts is None else packet.pts + moved


@lru_cache(maxsize=64)
def appended(path: Path, changed: int) -> bool:
    """Whether the file holds recordings that were appended to one another; reads all of it, and decodes nothing.
    `changed`: its time of modification."""
    with opened(path) as container:
        joined = Joined(container)
        for packet in container.demux():
            joined.follow(packet)
    return len(joined.offsets) > 1


def stated_end(container: "InputContainer", stream: "Stream") -> float:
    """Where the header says the stream ends, in seconds; 0 when it does not say."""
    if not STATES_LENGTH.intersection(container.format.name.split(",")):
        return 0.0
    if stream.duration and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    return (container.duration or 0) / 1e6  # FFmpeg counts a container's time in microseconds


def import_av() -> Any:
    """The module `av`, loaded on first use."""
    import av
    import av.error

    return av


def check_on_disk(path: Path) -> None:
    """Raises Unusable for a file that is missing, a folder, empty or a wav or avi that was cut short."""
    if not path.exists():
        near = path.parent if path.parent.is_dir() else None
        where = "its folder exists, the file does not" if near else f"there is no folder {path.parent}"
        raise Unusable(f"{path}: missing ({where}); paths in a manifest are relative to the manifest")
    if path.is_dir():
        raise Unusable(f"{path}: is a folder, expected a media file")
    if path.stat().st_size == 0:
        raise Unusable(f"{path}: is empty (0 bytes), expected a media file; copy it again")
    _check_riff(path)


def _check_riff(path: Path) -> None:
    """FFmpeg reads a cut wav or avi file without an error, so its header is compared with its size here."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise Unusable(f"{path}: cannot be opened ({error.strerror})") from error
    stated, size = 8 + int.from_bytes(start[4:], "little"), path.stat().st_size
    # A recorder that writes into a pipe does not know the size, and writes 0 or the largest number.
    if start[:4] == b"RIFF" and size < (1 - TOLERATED) * stated and stated < 0x7FFF0000:
        raise Unusable(f"{path}: was cut short: it has {size} bytes, its header says {stated}; copy it again")


def unreadable(path: Path, reason: str) -> str:
    """Why FFmpeg could not read the file, in plain words."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp":
        return f"{path}: is an mp4 that was cut short or damaged ({reason}); copy it again"
    got = next((f", got {kind}" for begin, kind in _OTHERS.items() if start.startswith(begin)), "")
    return f"{path}: cannot be decoded ({reason}); expected a media file{got}"


_OTHERS = {b"PK": "a zip archive", b"<": "HTML or XML", b"{": "JSON", b"%PDF": "a PDF", b"\x93NUMPY": "a .npy file"}
