"""The plan of a room: what stands and hangs where, in which paint, under which lamp. A seed is one plan, for ever.

World: x right, y away from the first wall, z up, metres; the floor is at z = 0.
"""

import math
from typing import NamedTuple

import numpy as np

from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.names import BALL, BOXES, CEILING, CYLINDERS, FLOOR, PICTURE, RUG, WALL
from sparsefuse.rooms.paints import PAINTS_OF, PATTERNS, Paint, paint

FACES = (WALL, WALL, WALL, WALL, FLOOR, CEILING)
"""Of the room: low x, high x, low y, high y, low z, high z."""
BACK, GROUND = 3, 4
FREE = 1.3
"""Metres behind the wall at low y in which nothing stands: cameras do."""


class Flat(NamedTuple):
    """A picture or a rug: paint on a face of the room."""

    face: int
    middle: tuple[float, float]
    """along the face: across and up"""
    half: tuple[float, float]
    disc: bool
    label: int
    paint: Paint

    def place(self, across: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of its face as the flat has them: 0 in its middle, -1 and 1 at its ends."""
        return (across - self.middle[0]) / self.half[0], (up - self.middle[1]) / self.half[1]


class Thing(NamedTuple):
    """A box, a cylinder or a ball that stands on the floor."""

    label: int
    centre: tuple[float, float, float]
    size: tuple[float, float, float]
    """full, along its own axes"""
    yaw: float
    paint: Paint

    @property
    def reach(self) -> float:
        """From its centre to its farthest point, at most."""
        return math.dist(self.size, (0, 0, 0)) / 2


class Plan(NamedTuple):
    """A room with what is in it."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    paints: tuple[Paint, ...]
    """of the faces"""
    flats: tuple[Flat, ...]
    things: tuple[Thing, ...]
    lamp: tuple[float, float, float]
    ambient: float
    """light that comes from everywhere, of 1"""


def plan(draws: Draws) -> Plan:
    """The next plan of the numbers."""
    width, length, height = draws.between(3, 5.5), draws.between(3.5, 6.5), draws.between(2.3, 3.0)
    low, high = (-width / 2, 0.0, 0.0), (width / 2, length, height)
    sides, ends, floor, ceiling = (paint(draws, draws.one(PATTERNS), label) for label in (WALL, WALL, FLOOR, CEILING))
    paints = (sides, sides, ends, ends, floor, ceiling)
    flats = tuple(_flat(draws, paints, low, high) for _ in range(draws.one((2, 3, 4))))
    things: list[Thing] = []
    for _ in range(draws.one((4, 5, 6, 7))):
        thing = _thing(draws, paints[BACK], low, high)
        if all(math.dist(thing.centre[:2], other.centre[:2]) > _radius(thing) + _radius(other) for other in things):
            things.append(thing)
    lamp = (draws.between(-0.3, 0.3) * width, draws.between(0.3, 0.8) * length, height - 0.15)
    return Plan(low, high, paints, flats, tuple(things), lamp, draws.between(0.15, 0.4))


def _flat(draws: Draws, paints: tuple[Paint, ...], low: tuple[float, ...], high: tuple[float, ...]) -> Flat:
    """In a pattern that its face does not have; a third are discs."""
    face = GROUND if draws.chance(0.45) else draws.one((0, 1, BACK, BACK))
    axis = 1 if face < 2 else 0
    across = draws.between(low[axis] + 0.5, high[axis] - 0.5)
    up = draws.between(1.2, high[1] - 0.6) if face == GROUND else draws.between(0.9, high[2] - 0.5)
    half, disc = (draws.between(0.3, 0.75), draws.between(0.3, 0.75)), draws.chance(0.35)
    pattern = draws.one([pattern for pattern in PATTERNS if pattern != paints[face].pattern])
    label = RUG if face == GROUND else PICTURE
    return Flat(face, (across, up), (half[0], half[0]) if disc else half, disc, label, paint(draws, pattern, label))


def _thing(draws: Draws, wall: Paint, low: tuple[float, ...], high: tuple[float, ...]) -> Thing:
    """Shape, size and place are drawn before the class, so that they say nothing of which of a pair it is."""
    shape = draws.one((BOXES, BOXES, CYLINDERS, CYLINDERS, (BALL,)))
    yaw = 0.0
    if shape == BOXES:
        size = (draws.between(0.4, 1.1), draws.between(0.4, 1.1), draws.between(0.3, 1.3))
        yaw = draws.between(-math.pi, math.pi)
    else:
        width = draws.between(0.35, 0.85)
        size = (width, width, width if shape == (BALL,) else draws.between(0.4, 1.4))
    radius = math.hypot(size[0], size[1]) / 2 if shape == BOXES else size[0] / 2
    x, y = draws.between(low[0] + radius, high[0] - radius), draws.between(FREE + radius, high[1] - radius)
    label = draws.one(shape)
    own = paint(draws, draws.one(PAINTS_OF[label]), label, black=draws.chance(0.08))
    if draws.chance(0.5) and wall.pattern in PAINTS_OF[label]:
        own = wall
    return Thing(label, (x, y, size[2] / 2), size, yaw, own)


def _radius(thing: Thing) -> float:
    """Of its footprint."""
    return (math.hypot(*thing.size[:2]) if thing.label in BOXES else thing.size[0]) / 2
