"""Decodes a still picture and loses no bit of it: a file in; its numbers as they are stored, upright, out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sparsefuse.files.declared import OPTION, beyond
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.media.netpbm import MAGIC, read_netpbm
from sparsefuse.media.open import check_on_disk, import_av
from sparsefuse.media.orientation import orientation

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

STILLS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".pgm", ".ppm"})
LARGEST = 2**30
"""bytes of a file"""
_CODECS = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "mjpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"RIFF": "webp",
    b"BM": "bmp",
}
"""first bytes -> decoder: the name of a file may lie"""
_GRAY = {"gray": "u1", "ya8": "u1", "gray16le": "<u2", "gray16be": ">u2", "ya16le": "<u2", "ya16be": ">u2"}
_GRAY |= {f"gray{bits}le": "<u2" for bits in (9, 10, 12, 14)}


class Still(NamedTuple):
    """A picture, or an array in place of one."""

    values: np.ndarray
    """(H, W, C) uint8 or uint16, of an array any kind of number: C = 1 gray, or numbers of a palette; 3 red, green,
    blue. What is transparent is as if it were not"""
    bits: int
    """of a value, as it is stored"""
    palette: np.ndarray | None = None
    """(256, 3) uint8 red, green, blue of each number"""
    exact: bool = True
    """whether values are as they were written; JPEG and lossy WebP change them"""
    most: int = 0
    """the largest value it could hold; 0 = all of its bits"""


def read_still(path: Path) -> Still:
    """Reads a picture of `STILLS`. Raises Unusable if it is missing, damaged or far larger than its file."""
    check_on_disk(path)
    size = path.stat().st_size
    if size > LARGEST:
        raise Unusable(f"{path}: has {size / 1e9:.3g} GB, a picture has {LARGEST / 1e9:.3g} at most")
    content = path.read_bytes()
    if content[:2] in MAGIC:
        values, most = read_netpbm(content, path)
        return Still(values, most.bit_length(), most=most)
    codec = next((name for begin, name in _CODECS.items() if content.startswith(begin)), None)
    if codec is None:
        raise Unusable(f"{path}: is no picture that is known here; expected {', '.join(sorted(STILLS))}")
    if _cut(content, codec):
        raise Unusable(f"{path}: was cut short, its end is missing; copy it again")
    av = import_av()
    try:
        with one_file(path, av.error.FFmpegError):
            frames = _decoded(content, codec)
            if not frames:
                raise Unusable(f"{path}: holds no picture; copy it again")
            image = frames[0]
            turn = orientation(image)
            still = _still(image, content)
            values = np.ascontiguousarray(turn.upright(still.values))
            return still._replace(values=values, exact=still.exact and codec != "mjpeg")
    except av.error.FFmpegError as error:
        raise Unusable(f"{path}: {_why(error, codec)}") from error


def _decoded(content: bytes, codec: str) -> "list[VideoFrame]":
    """Without a container: FFmpeg's readers of those would decode a picture before its size is checked."""
    av = import_av()
    context: Any = av.CodecContext.create(codec, "r")
    context.thread_count = 1
    context.options = {"max_pixels": str((len(content) + beyond()) // 3)}
    return context.decode(av.Packet(content)) + context.decode(None)


def _still(image: "VideoFrame", content: bytes) -> Still:
    form = image.format.name
    if form == "pal8":
        colours = np.frombuffer(bytes(image.planes[1]), np.uint8).reshape(-1, 4)[
            :, 2::-1
        ]  # stored blue, green, red, alpha
        return Still(_plane(image, "u1", 1), 8, colours)
    if form in ("monob", "monow"):
        packed = np.frombuffer(bytes(image.planes[0]), np.uint8).reshape(image.height, -1)
        bits = np.unpackbits(packed, axis=1, count=image.width)[..., None]
        return Still(bits if form == "monob" else 1 - bits, 1)
    if form in _GRAY:
        kind = _GRAY[form]
        values = _plane(image, kind, 2 if form.startswith("ya") else 1)[..., :1]
        bits = _png_bits(content) or 8 * np.dtype(kind).itemsize
        return Still(values // (255 // (2**bits - 1)) if bits < 8 else values, bits)  # FFmpeg stretches 2 and 4 bits
    wide = max(component.bits for component in image.format.components) > 8
    rgb = image.reformat(format="rgb48le" if wide else "rgb24", threads=1)
    return Still(_plane(rgb, "<u2" if wide else "u1", 3), 16 if wide else 8, exact=not form.startswith("yuv"))


def _plane(image: "VideoFrame", kind: str, channels: int) -> np.ndarray:
    """(H, W, channels) of the first plane, in this machine's order of bytes."""
    plane = image.planes[0]
    dtype = np.dtype(kind)
    rows = np.frombuffer(bytes(plane), dtype).reshape(image.height, plane.line_size // dtype.itemsize)
    values = rows[:, : image.width * channels].reshape(image.height, image.width, channels)
    return values.astype(dtype.newbyteorder("="))


def _png_bits(content: bytes) -> int:
    """Bits of a value in a PNG's header; 0 for other pictures."""
    return content[24] if content.startswith(b"\x89PNG") and len(content) > 24 else 0


def _cut(content: bytes, codec: str) -> bool:
    """Whether the mark that ends the file is missing: FFmpeg fills up what is, and says nothing."""
    if codec == "png":
        return content.rfind(b"IEND") < 0
    return codec == "mjpeg" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def _why(error: Any, codec: str) -> str:
    if isinstance(error, import_av().error.ArgumentError):  # what FFmpeg says of a picture beyond max_pixels
        return f"declares far more pixels than its file holds, or its header is wrong; if it is right, set {OPTION}"
    hint = "; a TIFF of fractions or 32 bits is not read: save it as .npy" if codec == "tiff" else ""
    return f"cannot be decoded ({error.strerror or type(error).__name__}); copy it again{hint}"
