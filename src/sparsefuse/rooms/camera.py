"""A pinhole camera that stands in a room: its rays, and where points of the world appear."""

import math
from typing import NamedTuple

import numpy as np

from sparsefuse.rooms.draws import Draws
from sparsefuse.rooms.plan import Plan


class Camera(NamedTuple):
    """Right, down and forward are its axes; pixel (0, 0) is the centre of the one at the top left."""

    K: np.ndarray
    """(3, 3) float32: focal length and middle, in pixels"""
    pose: np.ndarray
    """(4, 4) float32: camera to world"""


def camera(draws: Draws, plan: Plan, height: int, width: int) -> Camera:
    """One near the wall at low y, which looks into the room."""
    half, length = plan.high[0], plan.high[1]
    eye = (draws.between(-0.7, 0.7) * half, draws.between(0.2, 0.6), draws.between(1.2, 1.9))
    towards = draws.between(-0.4, 0.4) * half, 0.6 * length
    yaw, pitch = math.atan2(towards[0] - eye[0], towards[1] - eye[1]), draws.between(-0.5, -0.15)
    focal = draws.between(0.62, 0.85) * max(height, width)
    (cy, sy), (cp, sp) = (math.cos(yaw), math.sin(yaw)), (math.cos(pitch), math.sin(pitch))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], np.float32)
    pose = np.eye(4, dtype=np.float32)
    pose[:3] = np.array([[cy, sy * sp, sy * cp, eye[0]], [-sy, cy * sp, cy * cp, eye[1]], [0, -cp, sp, eye[2]]])
    return Camera(K, pose)


def rays(camera: Camera, height: int, width: int) -> np.ndarray:
    """(3, H x W) float32 directions in the world; one of length 1 along the axis, so that t is depth."""
    (fx, _, cx), (_, fy, cy), _ = camera.K
    right = (np.arange(width, dtype=np.float32) - cx) / fx
    down = (np.arange(height, dtype=np.float32)[:, None] - cy) / fy
    turn = camera.pose[:3, :3, None, None]
    return (turn[:, 0] * right + (turn[:, 1] * down + turn[:, 2])).reshape(3, -1)


def to_world(camera: Camera, u: np.ndarray, v: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(n, 3) float32: the points at columns u, rows v and depth, in metres."""
    (fx, _, cx), (_, fy, cy), _ = camera.K
    seen = np.stack([(u - cx) / fx * depth, (v - cy) / fy * depth, depth], 1).astype(np.float32)
    return seen @ camera.pose[:3, :3].T + camera.pose[:3, 3]


def to_pixels(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(n, 3): column, row and depth of (n, 3) points of the world; behind the camera depth is below 0."""
    seen = (points - camera.pose[:3, 3]) @ camera.pose[:3, :3]
    return np.concatenate([(seen @ camera.K.T)[:, :2] / seen[:, 2:], seen[:, 2:]], 1)
