"""Where rays meet a box, a cylinder or a ball that stand upright: distance, normal and place on the surface.

Rays are o + t d, with o and d (3, n) or o (3, 1), float32, from the shape's centre.
"""

import math
from typing import NamedTuple

import numpy as np

NEVER = np.float32(np.inf)


class Hits(NamedTuple):
    """One per ray."""

    t: np.ndarray
    """(n,) of the nearest hit ahead; inf = none, and the rest is then without meaning"""
    normal: np.ndarray
    """(3, n) unit, outwards"""
    across: np.ndarray
    """(n,) metres along the surface, for patterns"""
    up: np.ndarray


def box(o: np.ndarray, d: np.ndarray, size: tuple[float, float, float], yaw: float) -> Hits:
    """`size` is full, `yaw` turns it from x to y, in radians."""
    c, s = math.cos(yaw), math.sin(yaw)
    o = np.stack([c * o[0] + s * o[1], c * o[1] - s * o[0], o[2]])
    d = np.stack([c * d[0] + s * d[1], c * d[1] - s * d[0], d[2]])
    half = np.array(size, np.float32)[:, None] / 2
    inverse = 1 / d
    middle, reach = -o * inverse, half * np.abs(inverse)
    near = middle - reach
    # a ray along a side, half-way between it and its opposite, has no number for where it meets them
    first = np.fmax.reduce(near)
    t = np.where((first > 0) & (first < np.fmin.reduce(middle + reach)), first, NEVER)
    on = near == first
    x_side, y_side = on[0], on[1] & ~on[0]
    sign = -np.sign(np.where(x_side, d[0], np.where(y_side, d[1], d[2])))
    x, y, z = o + np.where(t < NEVER, t, 0) * d
    nx, ny = np.where(x_side, sign, 0), np.where(y_side, sign, 0)
    normal = np.stack([c * nx - s * ny, s * nx + c * ny, np.where(x_side | y_side, 0, sign)])
    return Hits(t, normal, np.where(x_side, y, x), np.where(x_side | y_side, z, y))


def cylinder(o: np.ndarray, d: np.ndarray, radius: float, height: float) -> Hits:
    """With its two ends."""
    square, straight = d[0] * d[0] + d[1] * d[1], o[0] * d[0] + o[1] * d[1]
    inside = straight * straight - square * (o[0] * o[0] + o[1] * o[1] - radius * radius)
    side = np.where(inside > 0, -(straight + np.sqrt(np.abs(inside))) / square, NEVER)
    side = np.where((side > 0) & (np.abs(o[2] + side * d[2]) <= height / 2), side, NEVER)
    end = (np.copysign(np.float32(height / 2), -d[2]) - o[2]) / d[2]
    x, y = o[0] + end * d[0], o[1] + end * d[1]
    on_end = (end > 0) & (x * x + y * y <= radius * radius) & (end < side)
    t = np.where(on_end, end, side)
    x, y, z = o + np.where(t < NEVER, t, 0) * d
    sideways = np.where(on_end, 0, np.stack([x, y]) / radius)
    normal = np.concatenate([sideways, np.where(on_end, np.sign(z), 0)[None]])
    return Hits(t, normal, np.where(on_end, x, np.arctan2(y, x) * radius), np.where(on_end, y, z))


def ball(o: np.ndarray, d: np.ndarray, radius: float) -> Hits:
    """A sphere."""
    square, straight = (d * d).sum(0), (o * d).sum(0)
    inside = straight * straight - square * ((o * o).sum(0) - radius * radius)
    t = np.where(inside > 0, -(straight + np.sqrt(np.abs(inside))) / square, NEVER)
    t = np.where(t > 0, t, NEVER)
    normal = (o + np.where(t < NEVER, t, 0) * d) / radius
    around = np.arctan2(normal[1], normal[0]) * radius
    return Hits(t, normal, around, np.arcsin(np.clip(normal[2], -1, 1)) * radius)
