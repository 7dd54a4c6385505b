"""The colors of classes: as far from one another as the eye tells, in the same order everywhere."""

import functools
from collections.abc import Sequence

import numpy as np

from sparsefuse.media.png import Color

MOST = 256
"""classes with a color of their own; more begin again"""
UNKNOWN: Color = (127, 127, 127)
"""what has no label, or was not measured"""
_LEVELS = 16
_LIGHT = (35.0, 88.0)
"""of colors, of 100: darker and brighter ones drown in a page"""
_CHROMA = (14.0, 72.0)
"""distances from gray: less looks like none, more glares"""


def palette(count: int) -> list[Color]:
    """A color for each of `count` classes; those of the first classes do not depend on how many there are."""
    colors = _colors()
    return [colors[i % MOST] for i in range(count)]


def colored(labels: np.ndarray, count: int) -> np.ndarray:
    """(H, W) numbers of classes -> (H, W, 3) uint8; what is no class is gray."""
    colors = np.array([*palette(count), UNKNOWN], np.uint8)
    return colors[np.where((labels >= 0) & (labels < count), labels, count)]


def hexadecimal(color: Sequence[int]) -> str:
    """As in CSS: #rrggbb."""
    return "#" + "".join(f"{value:02x}" for value in color)


@functools.cache
def _colors() -> tuple[Color, ...]:
    """Each the farthest from those before it, of a grid of all colors, in CIE L*a*b*."""
    steps = np.linspace(0, 255, _LEVELS).round().astype(int)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _lab(grid / 255)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    kept = (lab[:, 0] > _LIGHT[0]) & (lab[:, 0] < _LIGHT[1]) & (chroma > _CHROMA[0]) & (chroma < _CHROMA[1])
    grid, lab = grid[kept], lab[kept]
    first = int(np.argmin(((grid - (51, 102, 187)) ** 2).sum(1)))  # a blue
    chosen, distance = [first], np.full(len(grid), np.inf)
    while len(chosen) < MOST:
        distance = np.minimum(distance, ((lab - lab[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return tuple((int(r), int(g), int(b)) for r, g, b in grid[chosen])


def _lab(rgb: np.ndarray) -> np.ndarray:
    """(N, 3) sRGB from 0 to 1 -> CIE L*a*b* under D65."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = (linear @ to_xyz.T / (0.9505, 1.0, 1.089)).T
    fx, fy, fz = (np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116) for t in (x, y, z))
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], 1)
