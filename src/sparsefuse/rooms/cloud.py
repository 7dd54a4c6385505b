"""Points of a room, as a depth camera that moves through it would collect them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparsefuse.rooms.camera import to_world
from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.scene import Room


class Points(NamedTuple):
    """A cloud of N points."""

    xyz: np.ndarray
    """(N, 3) float32, metres in the world"""
    rgb: np.ndarray
    """(N, 3) uint8"""


def cloud(rooms: Room | Sequence[Room], num_points: int = 4096, seed: int = 0) -> Points:
    """Points that the depth camera measured, of one view or several of a room; twice the same where it measured less.

    Raises ValueError if it measured nothing at all.
    """
    views = [rooms] if isinstance(rooms, Room) else list(rooms)
    measured = [np.nonzero(view.sensor) for view in views]
    total = sum(len(v) for v, _ in measured)
    if not total or num_points < 1:
        raise ValueError(f"a cloud needs a point or more, and pixels with depth; got {num_points} and {total}")
    xyz = [
        to_world(view.camera, u, v, view.sensor[v, u] / np.float32(1000))
        for view, (v, u) in zip(views, measured, strict=True)
    ]
    rgb = [view.rgb[v, u] for view, (v, u) in zip(views, measured, strict=True)]
    order = _shuffled(total, seed)
    picked = order[np.arange(num_points) % total]
    return Points(np.concatenate(xyz)[picked], np.concatenate(rgb)[picked])


def _shuffled(count: int, seed: int) -> np.ndarray:
    return np.argsort(Draws(seed).bits(count), kind="stable")
