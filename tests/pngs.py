"""Writes PNG files of every kind of pixel, by the format's text (ISO 15948), for tests of what reads them."""

import struct
import zlib
from pathlib import Path

import numpy as np

GRAY, COLOUR, PALETTE, GRAY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def write_png(path: Path, values, *, bits: int = 0, palette=None, size: tuple[int, int] | None = None) -> Path:
    """`values`: (H, W) or (H, W, C), C = 2 or 4 with alpha, uint8 or uint16; `bits`: of a value, below 8 gray or a
    palette (n, 3) only. `size`: what the header says instead."""
    values = np.asarray(values)
    bits = bits or 8 * values.dtype.itemsize
    channels = 1 if values.ndim == 2 else values.shape[2]
    kind = PALETTE if palette is not None else {1: GRAY, 2: GRAY_ALPHA, 3: COLOUR, 4: COLOUR_ALPHA}[channels]
    height, width = size or values.shape[:2]
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))]
    if palette is not None:
        chunks.append(_chunk(b"PLTE", np.asarray(palette, np.uint8).tobytes()))
    rows = b"".join(b"\0" + _row(row, bits) for row in values)
    chunks += [_chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def _row(row: np.ndarray, bits: int) -> bytes:
    if bits < 8:
        text = "".join(f"{int(value):0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    return row.astype(">u2" if bits == 16 else "u1").tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
