"""Pictures and waves whose content is known by construction."""

import struct
import wave
from pathlib import Path

import av
import numpy as np

SIDE = 16  # pixels of one painted bit: larger than a codec's blocks


def paint(numbers: range) -> np.ndarray:
    """Frames (T, 32, 128, 3) that show their number as eight black or white squares, over a grey strip."""
    pixels = np.full((len(numbers), 2 * SIDE, 8 * SIDE, 3), 128, np.uint8)
    for index, number in enumerate(numbers):
        for bit in range(8):
            pixels[index, :SIDE, bit * SIDE : (bit + 1) * SIDE] = 255 * (number >> bit & 1)
    return pixels


def painted(frame: np.ndarray) -> int:
    """Reads the number back from a frame (H, W, C) of any size."""
    height, width = frame.shape[:2]
    return sum((int(frame[height // 4, width * (2 * bit + 1) // 16].mean()) > 127) << bit for bit in range(8))


def sine(hertz: float, seconds: float, rate: int = 16000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path: Path, channels: np.ndarray, rate: int) -> None:
    """(S, channels) in [-1, 1] as 16-bit numbers."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((channels * 32767).round().astype("<i2").tobytes())


def write_float_wav(path: Path, sound: np.ndarray, rate: int) -> None:
    """(S,) float32 as it is, NaN too."""
    body = sound.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)


def remux(source: Path, target: Path, **options: str) -> Path:
    """The same streams in another container."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return target


def cut_short(whole: Path) -> Path:
    """The first six tenths of a file, beside it."""
    cut = whole.with_stem("cut")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    return cut
