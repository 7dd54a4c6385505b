"""Films, sounds and pictures: probed as `check` does, and read as extraction does, whole and in part."""

import functools
import io
import random
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fuzzing._bytes import mutated
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import FramesRequest, SoundRequest, read
from sparsefuse.media.probe import probe

EXPECTED = (Unusable,)
_KINDS = {
    "mp4": ("libx264", "aac"),
    "mkv": ("libx264", "flac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "mp3"),
    "mpg": ("mpeg2video", "mp2"),
    "ts": ("libx264", "aac"),
    "gif": ("gif", ""),
    "png": ("png", ""),
    "wav": ("", "pcm_s16le"),
    "mp3": ("", "mp3"),
    "flac": ("", "flac"),
    "ogg": ("", "libopus"),
}


def make(rng: random.Random, folder: Path) -> Path:
    """A file of one of the kinds, nearly always mutated."""
    suffix, content = rng.choice(wholes())
    if rng.random() < 0.98:
        content = mutated(rng, content, [other for _, other in wholes()])
    path = folder / f"clip.{suffix}"
    path.write_bytes(content)
    return path


def attempt(path: Path) -> None:
    """Raises the longest of the errors."""
    refused = [tried(path, *call) for call in ((None, None), (0.0, None), (0.3, 0.7))]
    if any(refused):
        raise Unusable(max(refused, key=len))


def tried(path: Path, start: float | None, end: float | None) -> str:
    """The error of probing (without a start) or reading; empty without one."""
    try:
        if start is None:
            probe(path)
            return ""
        found = read(path, [FramesRequest(5.0, (16, 16), True), SoundRequest(16000)], start=start, end=end)
    except Unusable as error:
        return str(error)
    return max((str(each) for each in found if isinstance(each, Unusable)), key=len, default="")


@functools.cache
def wholes() -> list[tuple[str, bytes]]:
    """(suffix, content) of what is mutated."""
    found = [(suffix, written(suffix, *codecs)) for suffix, codecs in _KINDS.items()]
    return [*found, ("png", black(6_000)), ("txt", "a text\n".encode("utf-16"))]


def written(suffix: str, picture: str, sound: str) -> bytes:
    """A second of noise."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    form = {"mkv": "matroska", "mpg": "mpeg", "ts": "mpegts", "png": "image2pipe"}.get(suffix, suffix)
    with av.open(file, "w", format=form) as container:
        streams: list[tuple[Any, list[Any]]] = []
        if picture:
            video: Any = container.add_stream(picture, rate=25)
            video.width, video.height = 64, 48
            video.pix_fmt = {"gif": "rgb8", "png": "rgb24"}.get(picture, "yuv420p")
            pixels = rng.integers(0, 255, (1 if picture == "png" else 25, 48, 64, 3), np.uint8)
            streams.append((video, [av.VideoFrame.from_ndarray(each, format="rgb24") for each in pixels]))
        if sound:
            rate = 48000
            audio: Any = container.add_stream(sound, rate=rate, layout="stereo")
            samples = rng.integers(-9000, 9000, (1, 2 * rate)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            streams.append((audio, [frame]))
        for stream, frames in streams:
            for number, frame in enumerate(frames):
                if stream.type == "video":
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return file.getvalue()


def black(side: int) -> bytes:
    """A picture of `side` x `side` grey pixels in less than a megabyte."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    parts = [struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
