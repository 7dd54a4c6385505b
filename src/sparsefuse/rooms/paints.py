"""Paints: a pattern in two tones. The hue is the pattern's, the lightness the shape's: neither alone gives the colour.

A paint says what no shape says: crate and cabinet are the same boxes, drum and pillar the same cylinders, and have no
pattern in common.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.names import BALL, CABINET, CEILING, CRATE, DRUM, FLOOR, PICTURE, PILLAR, RUG, WALL

PATTERNS = ("plain", "stripes", "checks", "dots", "waves")
HUE = {"plain": 0.12, "stripes": 0.0, "checks": 0.6, "dots": 0.33, "waves": 0.8}
"""Of the colour wheel; a paint's is up to HUE_SPREAD above."""
HUE_SPREAD = 0.04
LIGHTNESS = {WALL: 0.75, PICTURE: 0.75, FLOOR: 0.5, RUG: 0.5, CEILING: 0.9, CRATE: 0.6, CABINET: 0.6, DRUM: 0.85,
             PILLAR: 0.85, BALL: 0.45}  # fmt: skip
PAINTS_OF = {
    CRATE: ("stripes", "checks"),
    CABINET: ("plain", "dots"),
    DRUM: ("checks", "waves"),
    PILLAR: ("plain", "stripes"),
    BALL: PATTERNS,
}
BLACK = 0.12
"""Share of the light that black paint leaves; infrared light, which depth is measured with, it takes altogether."""


class Paint(NamedTuple):
    """Two tones in a pattern."""

    pattern: str
    hue: float
    lightness: float
    frequency: float
    """repetitions a metre"""
    black: bool


def paint(draws: Draws, pattern: str, label: int, *, black: bool = False) -> Paint:
    """One for a surface of that class."""
    hue = HUE[pattern] + HUE_SPREAD * draws.share()
    return Paint(pattern, hue, LIGHTNESS[label], draws.between(2.5, 4.5), black)


def tones(paints: Sequence[Paint]) -> np.ndarray:
    """(2, 3, P) float32: the light that each reflects, where its pattern is off and on; red, green, blue."""
    hue, value = (np.array(each, np.float32) for each in zip(*(_hue_and_value(p) for p in paints), strict=True))
    return np.stack([_rgb(hue, 0.4, 0.55 * value), _rgb(hue, 0.8, value)])


def pattern_of(
    paints: Sequence[Paint], row: np.ndarray, across: np.ndarray, up: np.ndarray, blur: np.ndarray
) -> np.ndarray:
    """(n,) float32 of 0 to 1: how far the pattern of paint `row` is on, at metres `across` and `up` a surface.

    `blur`: metres that a pixel covers there; a pattern finer than that fades to grey instead of making another one.
    """
    frequency = np.array([p.frequency for p in paints], np.float32)[row]
    kind = np.array([PATTERNS.index(p.pattern) for p in paints], np.int8)[row]
    on = np.zeros(len(row), np.float32)
    for code, depth in _DEPTHS.items():
        place = np.flatnonzero(kind == PATTERNS.index(code))
        if len(place):
            often = frequency[place]
            depths, half = depth(across[place] * often, up[place] * often), np.float32(0.5)
            on[place] = np.clip(half + depths / np.maximum(blur[place] * often, np.float32(1e-3)), 0, 1)
    return on


def _stripes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _wave(x)


def _checks(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = _wave(x), _wave(y)
    return np.minimum(np.maximum(a, b), -np.minimum(a, b))  # one of them


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - np.floor(x) - np.float32(0.5), y - np.floor(y) - np.float32(0.5)
    return np.float32(0.33) - np.sqrt(x * x + y * y)


def _waves(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _wave(y + np.float32(0.3) * np.sin(np.float32(2 * np.pi) * x))


def _wave(x: np.ndarray) -> np.ndarray:
    """Distance to the next edge of a stripe, above 0 within one; in repetitions."""
    return np.abs(x - np.floor(x) - np.float32(0.5)) - np.float32(0.25)


_DEPTHS = {"stripes": _stripes, "checks": _checks, "dots": _dots, "waves": _waves}
"""How deep a point lies within the pattern's first tone, in repetitions."""


def _hue_and_value(p: Paint) -> tuple[float, float]:
    return p.hue, p.lightness * (BLACK if p.black else 1)


def _rgb(hue: np.ndarray, saturation: float, value: np.ndarray) -> np.ndarray:
    """(3, P)."""
    wheel = (np.array([[5.0], [3.0], [1.0]], np.float32) + 6 * hue) % 6
    return value * (1 - np.float32(saturation) * np.clip(np.minimum(wheel, 4 - wheel), 0, 1))
