"""Reads binary PGM and PPM pictures (P5, P6): the bytes of a file in; its numbers as they are stored out.

FFmpeg stretches them to 8 or 16 bits wherever the header's largest value is another: of labels to 9 it makes 0 to 255.
"""

import re
from typing import NamedTuple

import numpy as np

from sparsefuse.files.skipped import Unusable

MAGIC = {b"P5": 1, b"P6": 3}
"""first bytes -> channels"""
_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P[56]" + (_GAP + rb"(\d{1,9})") * 3 + rb"\s")


class Netpbm(NamedTuple):
    """A picture."""

    values: np.ndarray
    """(H, W, 1 or 3) uint8 or uint16"""
    most: int
    """the largest value that it could hold"""


def read_netpbm(content: bytes, name: object) -> Netpbm:
    """The first picture of a file. Raises Unusable with the reason; `name` begins the message."""
    header = _HEADER.match(content)
    if not header:
        raise Unusable(f"{name}: has no header of a PGM or PPM file: columns, rows and the largest value")
    width, height, most = map(int, header.groups())
    if not width or not height or not 1 <= most <= 65_535:
        raise Unusable(f"{name}: declares {width} x {height} pixels up to {most}; expected some, up to 1 to 65,535")
    dtype, channels = np.dtype("u1" if most < 256 else ">u2"), MAGIC[content[:2]]
    count = width * height * channels
    if count * dtype.itemsize > len(content) - header.end():
        raise Unusable(f"{name}: declares {width} x {height} pixels and holds fewer; was it cut short?")
    values = np.frombuffer(content, dtype, count, header.end()).reshape(height, width, channels)
    values = values.astype(dtype.newbyteorder("="))
    if values.max() > most:
        raise Unusable(f"{name}: holds the value {values.max()}, its header says {most} at most")
    return Netpbm(values, most)
