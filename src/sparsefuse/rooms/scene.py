"""Rooms with known truth, cast ray by ray: what a camera and a depth camera see, and what there is.

    seed -> plan -> surfaces that rays meet -> light -> paint -> sensors

What each stream can say, by construction:

    only colour    a picture or a rug lies in its wall or floor, where depth and normals do not change; crate and
                   cabinet are the same boxes, drum and pillar the same cylinders: paint tells them apart
    mostly depth   some objects wear the paint of the wall; a round picture is painted as a ball
    lost           colour in darkness and glare, depth in holes and on black paint
"""

from typing import NamedTuple

import numpy as np

from sparsefuse.rooms.camera import Camera, camera, rays
from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.names import PICTURE
from sparsefuse.rooms.paints import Paint, pattern_of, tones
from sparsefuse.rooms.plan import FACES, Plan, plan
from sparsefuse.rooms.sensors import clear_picture, color_picture, depth_picture
from sparsefuse.rooms.surfaces import Surfaces, shadows, surfaces

LEAST, MOST = 16, 1024
"""Rows or columns of a picture."""
SEEN = 0.002
"""Share of the pixels that an object needs to have a box."""


class Boxes(NamedTuple):
    """The objects that are seen, M of them."""

    centre: np.ndarray
    """(M, 3) float32, metres in the world"""
    size: np.ndarray
    """(M, 3) float32, full, along its own axes"""
    yaw: np.ndarray
    """(M,) float32, radians from x to y"""
    label: np.ndarray
    """(M,) uint8 into CLASSES"""
    instance: np.ndarray
    """(M,) uint8, as in the picture of instances"""


class Room(NamedTuple):
    """One view of a room."""

    rgb: np.ndarray
    """(H, W, 3) uint8, what a camera sees"""
    sensor: np.ndarray
    """(H, W) uint16 millimetres, what a depth camera sees; 0 = nothing"""
    depth: np.ndarray
    """(H, W) float32 metres along the optical axis"""
    normal: np.ndarray
    """(H, W, 3) float32 unit vectors: right, down, forward"""
    shade: np.ndarray
    """(H, W) float32 of 0 to 1, light without paint"""
    texture: np.ndarray
    """(H, W) float32 of 0 to 1, the pattern of the paint without its tones"""
    albedo: np.ndarray
    """(H, W, 3) float32 of 0 to 1, paint without light"""
    clear: np.ndarray
    """(H, W, 3) uint8, paint in the light, without the camera's faults"""
    edges: np.ndarray
    """(H, W) float32 of 0 to 1, where the paint changes"""
    label: np.ndarray
    """(H, W) uint8 into CLASSES"""
    instance: np.ndarray
    """(H, W) uint8: 0 = the room, from 1 = objects"""
    boxes: Boxes
    camera: Camera


def room(seed: int, height: int = 96, width: int = 96, *, view: int = 0) -> Room:
    """The room of a seed, as camera `view` sees it. The same arguments give the same room, and sizes the same scene.

    Raises ValueError for sizes out of range.
    """
    if not (LEAST <= height <= MOST and LEAST <= width <= MOST):
        raise ValueError(f"height and width must be {LEAST} to {MOST}; got {height} x {width}")
    if seed < 0 or view < 0:
        raise ValueError(f"seed and view must be 0 or more; got {seed} and {view}")
    planned, eye = plan(Draws(seed)), Draws(seed, 1 + view)
    stand = camera(eye, planned, height, width)
    seen = surfaces(planned, stand, rays(stand, height, width))
    paints = (*planned.paints, *(each.paint for each in (*planned.flats, *planned.things)))
    labels = (*FACES, *(each.label for each in (*planned.flats, *planned.things)))
    light = _light(planned, seen)
    texture, albedo = _painted(planned, paints, seen, float(stand.K[0, 0]))
    lit, shape = albedo * light, (height, width)
    black = np.array([paint.black for paint in paints])[seen.row]
    colors = color_picture(eye, lit, height, width)
    depths = depth_picture(eye, seen.depth, black, height, width)
    turn = stand.pose[:3, :3]
    normal = np.stack([sum(turn[i, axis] * seen.normal[i] for i in range(3)) for axis in range(3)], 1)
    return Room(
        rgb=colors.reshape(*shape, 3),
        sensor=depths.reshape(shape),
        depth=seen.depth.reshape(shape),
        normal=normal.reshape(*shape, 3),
        shade=light.reshape(shape),
        texture=texture.reshape(shape),
        albedo=np.ascontiguousarray(albedo.T).reshape(*shape, 3),
        clear=clear_picture(lit).reshape(*shape, 3),
        edges=_edges(albedo.mean(0).reshape(shape)),
        label=np.array(labels, np.uint8)[seen.row].reshape(shape),
        instance=seen.instance.reshape(shape),
        boxes=_boxes(planned, seen.instance),
        camera=stand,
    )


def _light(planned: Plan, seen: Surfaces) -> np.ndarray:
    """(n,) of 0 to 1: a lamp, less where it is far or aslant, none in shadow; and the light from everywhere."""
    to_lamp = np.array(planned.lamp, np.float32)[:, None] - seen.point
    far = np.sqrt((to_lamp * to_lamp).sum(0))
    to_lamp /= far
    direct = np.clip((seen.normal * to_lamp).sum(0), 0, 1) * np.clip(np.float32(2.2) / (far + np.float32(0.6)), 0, 1)
    direct[shadows(planned, seen, to_lamp, far, direct > 0)] = 0
    ambient = np.float32(planned.ambient)
    return ambient + (1 - ambient) * direct


def _painted(planned: Plan, paints: tuple[Paint, ...], seen: Surfaces, focal: float) -> tuple[np.ndarray, np.ndarray]:
    """The pattern (n,), and the light that the surface reflects (3, n)."""
    on = pattern_of(paints, seen.row, seen.across, seen.up, seen.depth / focal / np.maximum(seen.facing, 0.1))
    off_tone, on_tone = tones(paints)
    albedo = (on_tone - off_tone).take(seen.row, 1)
    albedo *= on
    albedo += off_tone.take(seen.row, 1)
    for number, flat in enumerate(planned.flats, len(FACES)):
        if flat.disc and flat.label == PICTURE:
            place = np.flatnonzero(seen.row == number)
            x, y = flat.place(seen.across[place], seen.up[place])
            albedo[:, place] *= np.sqrt(np.clip(1 - ((x + 0.3) ** 2 + (y - 0.4) ** 2) / 2.2, 0.1, 1))  # as a ball lit
    return on, albedo


def _edges(grey: np.ndarray) -> np.ndarray:
    """(H, W) of 0 to 1: how much it differs from the pixel on the left and above."""
    edges = np.zeros_like(grey)
    edges[:, 1:] += np.abs(grey[:, 1:] - grey[:, :-1])
    edges[1:] += np.abs(grey[1:] - grey[:-1])
    return np.minimum(3 * edges, 1)


def _boxes(planned: Plan, instance: np.ndarray) -> Boxes:
    pixels = np.bincount(instance, minlength=len(planned.things) + 1)
    kept = [number for number in range(len(planned.things)) if pixels[number + 1] >= SEEN * len(instance)]
    things = [planned.things[number] for number in kept]
    return Boxes(
        np.array([thing.centre for thing in things], np.float32).reshape(-1, 3),
        np.array([thing.size for thing in things], np.float32).reshape(-1, 3),
        np.array([thing.yaw for thing in things], np.float32),
        np.array([thing.label for thing in things], np.uint8),
        np.array(kept, np.uint8) + np.uint8(1),
    )
