"""Reads the files of one scene: its cloud, the pictures that can be used, and its boxes; or why it cannot be used."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsefuse.config.pixels import PictureStream
from sparsefuse.config.points import Channel, Points
from sparsefuse.data.contents import hash_of
from sparsefuse.data.manifest import Row
from sparsefuse.data.pixels.read import as_picture, read_raw
from sparsefuse.data.pixels.resize import resized
from sparsefuse.data.points.read import (
    Box,
    PictureCamera,
    check_allowed,
    read_boxes,
    read_cameras,
    read_cloud,
)
from sparsefuse.data.points.read import Points as Read
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.layers.points.nouns import Camera

COLOR = PictureStream("color")
_WIDTHS: dict[Channel, int] = {"height": 1, "color": 3}
LOW = 0.01
"""share of the points below which the floor is (as VoteNet takes it)"""


class Pictures(NamedTuple):
    """Those of a scene that can be used."""

    pictures: list[Tensor]
    """(H, W, 3) uint8"""
    cameras: list[Camera]
    lost: list[Unusable]


class Loaded(NamedTuple):
    """A scene as it reaches the run, before anything is drawn or normalised."""

    xyz: Tensor
    """(N, 3) float32"""
    x: Tensor
    """(N, F) float32"""
    pictures: list[Tensor]
    """(H, W, 3) uint8"""
    cameras: list[Camera]
    boxes: list[Box]
    hash: str
    """of the cloud's places, see `contents.hash_of`"""
    lost: list[Unusable]
    """pictures that cannot be used"""
    nowhere: int
    """points left out, see `read.Points`"""

    @property
    def nbytes(self) -> int:
        """In memory."""
        return sum(part.nbytes for part in (self.xyz, self.x, *self.pictures))


@dataclass(frozen=True)
class Reader:
    """How the scenes of a run are read."""

    root: Path
    points: Points

    def read(self, row: Row) -> Loaded | Unusable:
        """A row whose `files` are its cloud and cameras, and whose label is the file of its boxes."""
        points = self.points
        try:
            if points.cloud not in row.files:
                raise Unusable(f"no cloud: its cell in column {points.cloud!r} is empty")
            if not row.label:
                raise Unusable(
                    f"no boxes: its cell in column {points.boxes!r} is empty; a scene without objects has []"
                )
            ref = row.files[points.cloud]
            with one_file(ref):
                cloud = read_cloud(ref, self.root, color="color" in points.channels)
            boxes = read_boxes(row.label, self.root)
        except Unusable as error:
            return error
        pictures = self.pictures(row.files.get(points.cameras, ""))
        xyz = torch.from_numpy(cloud.xyz)
        return Loaded(xyz, channels_of(cloud, points.channels), pictures.pictures, pictures.cameras, boxes,
                      hash_of(cloud.xyz), pictures.lost, cloud.nowhere)  # fmt: skip

    def pictures(self, ref: str) -> Pictures:
        """The first pictures of a file of cameras; none if `ref` is empty."""
        found = Pictures([], [], [])
        if not ref or self.points.frames == 0:
            return found
        try:
            cameras = read_cameras(ref, self.root)
        except Unusable as error:
            return found._replace(lost=[error])
        for camera in cameras[: self.points.frames]:
            try:
                check_allowed(camera, self.root)
                with one_file(camera.picture):
                    x = as_picture(read_raw(camera.picture, self.root), COLOR, camera.picture)
                    picture, sized = self.fitted(x, camera)
            except Unusable as error:
                found.lost.append(error)
            else:
                found.pictures.append(picture)
                found.cameras.append(sized)
        return found

    def fitted(self, x: Tensor, camera: PictureCamera) -> tuple[Tensor, Camera]:
        """A picture (H, W, 3) from 0 to 1, resized as the run's are, in 8 bits, and its camera. Raises Unusable for one
        of another size than the camera says."""
        if tuple(x.shape[:2]) != camera.size:
            said, held = (" x ".join(map(str, size)) for size in (camera.size, x.shape[:2]))
            raise Unusable(f"{camera.picture}: has {held} pixels, its camera says {said}; the camera must describe "
                           "the picture as stored")  # fmt: skip
        whole = Camera(torch.from_numpy(camera.K), torch.from_numpy(camera.pose), torch.tensor(camera.size))
        height, width = self.points.height, self.points.width
        if height:
            x, whole = resized(x, "color", height, width), whole.resized(height, width)
        return (x * 255).round().to(torch.uint8), whole


def channels_of(cloud: Read, channels: list[Channel]) -> Tensor:
    """(N, F) of a cloud's points, see `config.points.Points.channels`."""
    parts = {"color": cloud.rgb}
    if "height" in channels:
        parts["height"] = cloud.xyz[:, 2:] - np.quantile(cloud.xyz[:, 2], LOW).astype(np.float32)
    columns = [part for name in channels if (part := parts[name]) is not None]
    return torch.from_numpy(np.concatenate([np.zeros((len(cloud.xyz), 0), np.float32), *columns], 1))


def num_channels(channels: list[Channel]) -> int:
    """F."""
    return sum(_WIDTHS[name] for name in channels)


def lengths_in(channels: list[Channel]) -> Tensor:
    """(F) bool: which of the channels are metres, and grow with the scene."""
    return torch.tensor([name == "height" for name in channels for _ in range(_WIDTHS[name])], dtype=torch.bool)
