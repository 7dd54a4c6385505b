"""The nouns of scenes in space: a cloud of points, boxes in it, and cameras that look at it.

The world: x right, y forward, z up, metres. Letters: B scenes, N points, F channels of a point, M boxes, C pictures.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cloud(NamedTuple):
    """Points of scenes, padded to as many."""

    xyz: Tensor
    """(B, N, 3) float, in the world"""
    x: Tensor
    """(B, N, F) float: what is known of each besides; F may be 0"""
    mask: Tensor
    """(B, N) bool, True = a real point"""

    def zeroed(self) -> "Cloud":
        """The same, with zeros for what is not real, whatever was there."""
        real = self.mask[..., None]
        return Cloud(torch.where(real, self.xyz, 0.0), torch.where(real, self.x, 0.0), self.mask)


class Boxes(NamedTuple):
    """Boxes of scenes that stand upright, padded to as many."""

    centre: Tensor
    """(B, M, 3) in the world"""
    size: Tensor
    """(B, M, 3) the whole lengths along the box's own x, y and z"""
    yaw: Tensor
    """(B, M) by how much it is turned about z, counter-clockwise seen from above, in radians"""
    label: Tensor
    """(B, M) long"""
    score: Tensor
    """(B, M) float; 1 for boxes that are known"""
    mask: Tensor
    """(B, M) bool, True = a real box"""


class Projection(NamedTuple):
    """Where points fall in a picture."""

    uv: Tensor
    """(..., N, 2) column and row; the centre of the first pixel is (0, 0). Finite, and meaningless behind the camera"""
    depth: Tensor
    """(..., N) metres along the optical axis"""
    visible: Tensor
    """(..., N) bool: before the camera and in the picture"""


class Camera(NamedTuple):
    """Pinhole cameras with the pictures that they took, of any number of leading axes, such as (B, C)."""

    K: Tensor
    """(..., 3, 3) camera (right, down, forward) -> column, row and 1, times depth"""
    pose: Tensor
    """(..., 4, 4) camera -> world"""
    size: Tensor
    """(..., 2) rows and columns of the picture; 0 where there is none, and then nothing is visible"""

    @classmethod
    def from_matrix(cls, matrix: Tensor, size: Tensor, *, first: float = 0.0) -> "Camera":
        """From a matrix (..., 3, 3) or (..., 3, 4) of world -> column, row and 1, times depth.

        `first`: what the matrix has as column and row of the centre of the first pixel; 1 in SUN RGB-D. The camera's
        axes are then those of the world, and `K` is no triangle: columns, rows and depths are the same.
        """
        turn = matrix[..., :3]
        scale = turn[..., 2:, :].norm(dim=-1, keepdim=True)  # of depth: the last row is a unit vector
        pose = torch.eye(4, dtype=matrix.dtype, device=matrix.device).expand(*turn.shape[:-2], 4, 4).clone()
        if matrix.shape[-1] == 4:
            pose[..., :3, 3] = -torch.linalg.solve(turn, matrix[..., 3])
        shift = turn.new_full((*turn.shape[:-2], 2), -first)
        return cls(turn / scale, pose, size)._changed(torch.ones_like(shift), shift, size)

    def project(self, xyz: Tensor) -> Projection:
        """Points (..., N, 3) of the world, whose leading axes broadcast with the cameras'."""
        matrix = self.K @ _inverse(self.pose[..., :3, :3])  # (..., 3, 3)
        w = (xyz - self.pose[..., None, :3, 3]) @ matrix.transpose(-1, -2)  # (..., N, 3)
        depth = w[..., 2]
        before = depth > 1e-6
        uv = w[..., :2] / torch.where(before, depth, 1.0)[..., None]
        limit = self.size.flip(-1).to(uv.dtype)[..., None, :] - 0.5
        inside = ((uv >= -0.5) & (uv < limit)).all(-1)
        return Projection(uv, depth, before & inside & (self.size > 0).all(-1)[..., None])

    def resized(self, rows: int, columns: int) -> "Camera":
        """The camera of its picture resized."""
        new = self._sized(rows, columns)
        scale = (new / self.size.clamp_min(1)).flip(-1).to(self.K.dtype)  # of columns, rows
        return self._changed(scale, (scale - 1) / 2, new)

    def cropped(self, top: int, left: int, rows: int, columns: int) -> "Camera":
        """The camera of a part of its picture."""
        scale = self.K.new_ones(*self.size.shape)
        return self._changed(scale, -scale * scale.new_tensor([left, top]), self._sized(rows, columns))

    def flipped(self) -> "Camera":
        """The camera of its picture with left and right swapped; the world stays as it is."""
        scale = self.K.new_tensor([-1.0, 1.0]).expand(self.size.shape)
        last = (self.size[..., 1] - 1).to(self.K.dtype)
        return self._changed(scale, torch.stack([last, torch.zeros_like(last)], -1), self.size)

    def moved(self, transform: Tensor) -> "Camera":
        """The same picture, of a world whose points x are now at `transform` (4, 4) x."""
        return self._replace(pose=transform.to(self.pose) @ self.pose)

    def _sized(self, rows: int, columns: int) -> Tensor:
        there = (self.size > 0).all(-1, keepdim=True)
        return self.size.new_tensor([rows, columns]) * there

    def _changed(self, scale: Tensor, shift: Tensor, size: Tensor) -> "Camera":
        """Columns and rows (..., 2) are times `scale`, plus `shift`."""
        change = torch.eye(3, dtype=self.K.dtype, device=self.K.device).expand(*self.K.shape[:-2], 3, 3).clone()
        change[..., 0, 0], change[..., 1, 1], change[..., :2, 2] = scale[..., 0], scale[..., 1], shift
        return self._replace(K=change @ self.K, size=size)


def _inverse(matrix: Tensor) -> Tensor:
    """Of (..., 3, 3), by its columns' cross products: a turn, and maybe a mirror and a scale, is far from singular."""
    a, b, c = matrix.unbind(-1)
    rows = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)
    return rows / (a * rows[..., 0, :]).sum(-1)[..., None, None]
