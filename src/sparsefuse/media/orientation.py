"""How a decoded frame has to be turned and mirrored to be upright: phones and EXIF store it as the sensor lay."""

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class Orientation(NamedTuple):
    """What makes a stored picture upright, in this order."""

    transposed: bool = False
    """columns become rows"""
    mirrored: bool = False
    """left becomes right"""
    flipped: bool = False
    """the top becomes the bottom"""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the stored picture as that of the upright one, and the other way round."""
        return (width, height) if self.transposed else (height, width)

    def upright(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, C) as stored to upright."""
        pixels = pixels.swapaxes(0, 1) if self.transposed else pixels
        return pixels[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]


def orientation(image: "VideoFrame") -> Orientation:
    """By the frame's display matrix, to the nearest quarter of a turn."""
    while True:
        try:
            sides: Any = image.side_data  # a mapping; before PyAV 19 it iterates over its values
            break
        except ValueError as error:  # of a kind that FFmpeg has and PyAV does not name, such as EXIF: 31
            image = _without(image, str(error).split()[0])
    each = [sides[i] for i in range(len(sides))]
    matrix = next((bytes(data) for data in each if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)  # (x, y) is shown at (a x + c y, b x + d y)
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


def _without(image: "VideoFrame", kind: str) -> "VideoFrame":
    """The frame without one kind of side data."""
    from av.filter import Graph
    from av.video.frame import VideoFrame

    graph = Graph()
    tick = image.time_base or Fraction(1)
    begin = graph.add_buffer(width=image.width, height=image.height, format=image.format, time_base=tick)
    graph.link_nodes(begin, graph.add("sidedata", f"mode=delete:type={kind}"), graph.add("buffersink")).configure()
    graph.push(image)
    rest = graph.pull()
    assert isinstance(rest, VideoFrame), rest
    return rest
