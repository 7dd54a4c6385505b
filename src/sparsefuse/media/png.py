"""Pixels in, PNG out: color, gray, 16 bits, and numbers of classes with a palette. Needs numpy alone."""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparsefuse.files.whole import replacing

Color = tuple[int, int, int]
_GRAY, _RGB, _PALETTE, _RGBA = 0, 2, 3, 6
_ROW_ABOVE = 2
"""the filter that stores a row's difference from the one above it, which is small in pictures"""


def png_of(pixels: np.ndarray, palette: Sequence[Color] | None = None) -> bytes:
    """(H, W) uint8 or uint16, (H, W, 3) or (H, W, 4) uint8 as the bytes of a PNG file; the same bytes for the same
    pixels.

    With a `palette`, of at most 256 colors, viewers show pixel value i of (H, W) uint8 in color i; readers may get i.
    Raises ValueError for other arrays.
    """
    kind, depth = _kind(pixels, palette)
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels.astype(">u2") if depth == 16 else pixels).view(np.uint8).reshape(height, -1)
    scheme = 0
    if palette is None:
        rows = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))  # modulo 256
        scheme = _ROW_ABOVE
    lines = np.concatenate([np.full((height, 1), scheme, np.uint8), rows], axis=1)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    colors = [] if palette is None else [(b"PLTE", bytes(value for color in palette for value in color))]
    chunks = [(b"IHDR", head), *colors, (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def noted(png: bytes, note: str) -> bytes:
    """The same file with a note that no viewer shows, at its end."""
    assert png.endswith(_END), "a PNG ends with IEND"
    return png[: -len(_END)] + _note(note) + _END


def has_note(path: Path, note: str) -> bool:
    """Whether a file is a picture with this note."""
    end = _note(note) + _END
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(end)))
        return file.read() == end


def write_png(path: str | Path, pixels: np.ndarray, palette: Sequence[Color] | None = None) -> None:
    """Writes `png_of` the pixels, whole."""
    content = png_of(pixels, palette)
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(content)


def _kind(pixels: np.ndarray, palette: Sequence[Color] | None) -> tuple[int, int]:
    """The type of color and the bits of a sample, as PNG numbers them."""
    kinds = {(2, 1): _GRAY, (3, 3): _RGB, (3, 4): _RGBA}
    kind = kinds.get((pixels.ndim, pixels.shape[-1] if pixels.ndim == 3 else 1))
    deep = pixels.dtype == np.uint16 and kind == _GRAY
    if kind is None or 0 in pixels.shape or not (pixels.dtype == np.uint8 or deep):
        raise ValueError(
            f"a PNG is of (H, W) uint8 or uint16, (H, W, 3) or (H, W, 4) uint8; got {pixels.shape} {pixels.dtype}"
        )
    if palette is None:
        return kind, 16 if deep else 8
    if kind != _GRAY or deep or not int(pixels.max()) < len(palette) <= 256:
        raise ValueError(
            f"a palette of {len(palette)} colors is for (H, W) uint8 below that, at most 256; got {pixels.shape} "
            f"{pixels.dtype} up to {pixels.max()}"
        )
    return _PALETTE, 8


def _note(note: str) -> bytes:
    return _chunk(b"tEXt", b"Comment\0" + note.encode("latin-1"))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


_END = _chunk(b"IEND", b"")
