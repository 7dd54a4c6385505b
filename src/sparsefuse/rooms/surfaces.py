"""The surfaces that rays meet first in a room, and what lies in shadow."""

from typing import NamedTuple

import numpy as np

from sparsefuse.rooms.camera import Camera
from sparsefuse.rooms.names import BOXES, CYLINDERS
from sparsefuse.rooms.plan import FACES, Plan, Thing
from sparsefuse.rooms.shapes import Hits, ball, box, cylinder

_X, _Y, _Z = np.arange(3, dtype=np.int8)


class Surfaces(NamedTuple):
    """One point per ray."""

    depth: np.ndarray
    """(n,) metres along the camera's axis"""
    point: np.ndarray
    """(3, n) in the world"""
    normal: np.ndarray
    """(3, n) unit, towards the camera"""
    facing: np.ndarray
    """(n,) cosine between the normal and the ray"""
    across: np.ndarray
    """(n,) metres along the surface, for patterns"""
    up: np.ndarray
    row: np.ndarray
    """(n,) number among the faces of the room, its flats and its things"""
    instance: np.ndarray
    """(n,) uint8: 0 = the room, from 1 = its things"""


def surfaces(plan: Plan, camera: Camera, rays: np.ndarray) -> Surfaces:
    """What rays (3, n) of the camera meet."""
    eye = camera.pose[:3, 3:]
    length = np.sqrt((rays * rays).sum(0))
    depth, axis, row = _walls(plan, eye, rays)
    point = eye + depth * rays
    normal = np.where(axis == np.arange(3, dtype=np.int8)[:, None], -np.sign(rays), np.float32(0))
    across, up = np.where(axis == 0, point[1], point[0]), np.where(axis == 2, point[1], point[2])
    _hang(plan, row, across, up)
    instance = np.zeros(len(depth), np.uint8)
    first = len(FACES) + len(plan.flats)
    for number, thing in enumerate(plan.things):
        middle = np.array(thing.centre, np.float32)[:, None]
        near = _near(middle - eye, rays, length, thing.reach)
        found = hits(thing, eye - middle, rays[:, near])
        front = np.flatnonzero(found.t < depth[near])
        place = near[front]
        depth[place], normal[:, place] = found.t[front], found.normal[:, front]
        across[place], up[place] = found.across[front], found.up[front]
        row[place], instance[place] = first + number, number + 1
    point = eye + depth * rays
    return Surfaces(depth, point, normal, -(normal * rays).sum(0) / length, across, up, row, instance)


def shadows(plan: Plan, seen: Surfaces, to_lamp: np.ndarray, far: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Numbers of the points that a thing hides from the lamp, `far` metres away along unit vectors `to_lamp`."""
    dark = []
    (x, y, z), (right, far_off, up) = seen.point, to_lamp
    from_middle = (seen.point * to_lamp).sum(0)
    square = (seen.point * seen.point).sum(0)
    for number, thing in enumerate(plan.things, 1):
        a, b, c = thing.centre
        along = a * right + b * far_off + c * up - from_middle
        away = square - (2 * a) * x - (2 * b) * y - (2 * c) * z - along * along
        limit = thing.reach**2 - a * a - b * b - c * c
        near = np.flatnonzero((away < limit + 1e-3) & (along > 0) & lit & (seen.instance != number))
        to_thing = np.array([[a], [b], [c]], np.float32) - seen.point[:, near]
        # a point that is met by rounding within its own surface would lie in its own shadow
        start = np.float32(0.002) * seen.normal[:, near] - to_thing
        dark.append(near[hits(thing, start, to_lamp[:, near]).t < far[near]])
    return np.concatenate([*dark, np.zeros(0, np.int64)])


def hits(thing: Thing, start: np.ndarray, rays: np.ndarray) -> Hits:
    """Where rays meet it; `start` is from its centre."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if thing.label in BOXES:
            return box(start, rays, thing.size, thing.yaw)
        if thing.label in CYLINDERS:
            return cylinder(start, rays, thing.size[0] / 2, thing.size[2])
        return ball(start, rays, thing.size[0] / 2)


def _walls(plan: Plan, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth, axis and face where rays leave the room."""
    low, high = np.array(plan.low, np.float32)[:, None], np.array(plan.high, np.float32)[:, None]
    ahead = rays > 0
    with np.errstate(divide="ignore"):
        exits = np.abs((np.where(ahead, high, low) - eye) / rays)  # along a wall: infinity, of either sign
    depth = exits.min(0)
    # the first axis whose exit it is, and whether that is its far wall
    on_x, on_y = exits[0] == depth, exits[1] == depth
    axis = np.where(on_x, _X, np.where(on_y, _Y, _Z))
    return depth, axis, 2 * axis + np.where(on_x, ahead[0], np.where(on_y, ahead[1], ahead[2]))


def _hang(plan: Plan, row: np.ndarray, across: np.ndarray, up: np.ndarray) -> None:
    """Gives the points within a flat its number."""
    face = row.copy()
    for number, flat in enumerate(plan.flats, len(FACES)):
        place = np.flatnonzero(face == flat.face)
        x, y = flat.place(across[place], up[place])
        within = x * x + y * y < 1 if flat.disc else (np.abs(x) < 1) & (np.abs(y) < 1)
        row[place[within]] = number


def _near(to_thing: np.ndarray, rays: np.ndarray, length: np.ndarray, reach: float) -> np.ndarray:
    """Numbers of the rays that pass a thing within its reach."""
    tangent = np.sqrt(max(float((to_thing * to_thing).sum()) - reach * reach, 0.0))
    return np.flatnonzero((to_thing * rays).sum(0) > length * np.float32(tangent))
