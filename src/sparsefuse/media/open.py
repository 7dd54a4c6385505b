"""A media file comes in, the decoded frames of one stream come out; what is wrong with it is said in plain words."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from sparsefuse.skipped import Unusable

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame

# Formats whose header states the length. Elsewhere FFmpeg guesses it from the bit rate, which proves nothing.
_STATES_LENGTH = {"mov", "mp4", "matroska", "webm", "avi", "wav", "flv", "asf", "w64", "aiff"}
_TOLERATED = 0.1  # share of a stream that may be missing or damaged: cutting tools round, old recordings have glitches


@overload
def decoded(path: str | Path, kind: Literal["video"]) -> "Iterator[VideoFrame]": ...
@overload
def decoded(path: str | Path, kind: Literal["audio"]) -> "Iterator[AudioFrame]": ...
def decoded(path: str | Path, kind: Literal["video", "audio"]) -> Iterator[Any]:
    """Gives the frames of the file's first stream of that kind, in the order they are shown.

    Raises Unusable when the file is missing, empty, no media file, cut short, or has no such stream; if it is cut
    short, that may show only at the end, so use nothing before the iterator is exhausted.
    """
    av = import_av()
    path = Path(path)
    check_on_disk(path)
    try:
        # "file:" keeps a name such as `a:b.mp4` from being read as a protocol.
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            yield from _frames(container, _first_stream(container, kind, path), path)
    except av.error.FFmpegError as error:
        raise Unusable(unreadable(path, error.strerror or type(error).__name__)) from error


def import_av() -> Any:
    """The module `av`, or an ImportError that says how to install it."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise ImportError("reading and writing media needs PyAV: pip install 'sparsefuse[media]'") from error
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
    """FFmpeg believes a cut wav or avi file rather than its header, so the header is compared here."""
    with path.open("rb") as file:
        start = file.read(8)
    stated, size = 8 + int.from_bytes(start[4:], "little"), path.stat().st_size
    # Whoever records into a pipe cannot know the size, and writes 0 or the largest number.
    if start[:4] == b"RIFF" and size < (1 - _TOLERATED) * stated and stated < 0x7FFF0000:
        raise Unusable(f"{path}: was cut short: it has {size} bytes, its header says {stated}; copy it again")


def _first_stream(container: "InputContainer", kind: str, path: Path) -> "Stream":
    from av.stream import Disposition

    # A cover picture in a song is no video; FFmpeg's "tty" format draws any text file as one.
    streams = [s for s in container.streams if s.type == kind and not s.disposition & Disposition.attached_pic]
    if container.format.name == "tty":
        raise Unusable(f"{path}: is a text file, expected a media file")
    if not streams:
        found = ", ".join(sorted({s.type for s in container.streams})) or "none"
        what = {"video": "no picture (no video stream)", "audio": "no sound (no audio stream)"}[kind]
        raise Unusable(f"{path}: has {what}; its streams: {found}")
    return streams[0]


def _frames(container: "InputContainer", stream: "Stream", path: Path) -> Iterator[Any]:
    from av.error import InvalidDataError

    own_length = bool(stream.duration)
    reached, num_packets, num_damaged, num_frames = 0.0, 0, 0, 0
    for packet in container.demux():
        ours = packet.stream.index == stream.index
        # Without a length of the stream only the file's is known, and another stream may be the longest.
        if packet.pts is not None and packet.time_base is not None and (ours or not own_length):
            reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if not ours:
            continue
        num_packets += 1
        try:
            frames = packet.decode()
        except InvalidDataError:
            num_damaged += 1
            continue
        num_frames += len(frames)
        yield from frames
    if num_frames == 0:
        raise Unusable(f"{path}: its {stream.type} stream is empty (no frame in {num_packets - 1} packets)")
    if num_damaged > _TOLERATED * num_packets:
        raise Unusable(f"{path}: is damaged ({num_damaged} of {num_packets} packets cannot be decoded); copy it again")
    stated = _stated_end(container, stream)
    if reached < (1 - _TOLERATED) * stated:
        raise Unusable(
            f"{path}: was cut short: it ends at {reached:.2f} s, its header says {stated:.2f} s; copy it again"
        )


def _stated_end(container: "InputContainer", stream: "Stream") -> float:
    """Where the header says the stream ends, in seconds; 0 when it does not say."""
    if not _STATES_LENGTH.intersection(container.format.name.split(",")):
        return 0.0
    if stream.duration and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    return (container.duration or 0) / 1e6  # FFmpeg counts a container's time in microseconds


def unreadable(path: Path, reason: str) -> str:
    """Why FFmpeg could not read the file, in plain words."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp":
        return f"{path}: is an mp4 that was cut short or damaged ({reason}); copy it again"
    return f"{path}: cannot be decoded ({reason}); expected a media file, got one that starts with {start!r}"
