"""Counts and measures the cost of a detector: of a scene with so many points and pictures, a room of fixed noise."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.cost.count import CountedCost, multiply_adds
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.model.points import DetectionModel

ROOM = (4.0, 5.0, 2.5)
"""metres; the points lie on its floor and walls, as most of those that are measured"""


class SceneSize(NamedTuple):
    """How much of a scene a model reads."""

    points: int
    frames: int
    """pictures"""
    rows: int
    columns: int


class Inputs(NamedTuple):
    """What a detector is given, and the boxes that it is trained with."""

    cloud: Cloud
    pictures: Tensor | None
    cameras: Camera | None
    boxes: Boxes


def random_rooms(model: DetectionModel, size: SceneSize, batch: int, device: torch.device | None = None) -> Inputs:
    """A batch of rooms, always the same, with a box each."""
    generator = torch.Generator().manual_seed(0)
    room = torch.tensor(ROOM)
    xyz = torch.rand(batch, size.points, 3, generator=generator) * room
    face = torch.randint(0, 3, (batch, size.points, 1), generator=generator)  # x or y is 0, or z
    xyz = xyz.scatter(2, face, 0.0)
    x = torch.randn(batch, size.points, model.num_channels, generator=generator)
    cloud = Cloud(xyz, x, torch.ones(batch, size.points, dtype=torch.bool))
    pictures = cameras = None
    if size.frames and model.reads_pictures:
        pictures = torch.randn(batch, size.frames, size.rows, size.columns, 3, generator=generator)
        pose = torch.tensor([[1.0, 0, 0, 2], [0, 0, 1, -1], [0, -1, 0, 1.25], [0, 0, 0, 1]])
        focal = 0.6 * max(size.rows, size.columns)
        K = torch.tensor([[focal, 0, (size.columns - 1) / 2], [0, focal, (size.rows - 1) / 2], [0, 0, 1]])
        many = (batch, size.frames, 1, 1)
        cameras = Camera(K.repeat(many), pose.repeat(many), torch.tensor([size.rows, size.columns]).repeat(many[:3]))
    ones = torch.ones(batch, 1)
    boxes = Boxes(
        (room / 2).expand(batch, 1, 3), ones[..., None].expand(-1, -1, 3), 0 * ones, ones.long() * 0, ones, ones > 0
    )
    return moved(Inputs(cloud, pictures, cameras, boxes), device)


def moved(inputs: Inputs, device: torch.device | None) -> Inputs:
    """The inputs on a device."""
    return Inputs(
        Cloud(*(part.to(device) for part in inputs.cloud)),
        inputs.pictures if inputs.pictures is None else inputs.pictures.to(device),
        inputs.cameras and Camera(*(part.to(device) for part in inputs.cameras)),
        Boxes(*(part.to(device) for part in inputs.boxes)),
    )


def count_points(model: DetectionModel, size: SceneSize) -> CountedCost:
    """The multiply-adds of one scene, from points and pictures to boxes, and the parameters.

    They are counted where they happen, so neighbours that there are not cost nothing; the exact number depends on where
    points lie. Attention and layers are not told apart from the rest, and no paper's formula is another.
    """
    model = copy.deepcopy(model).cpu().eval()
    inputs = random_rooms(model, size, 1)
    total = multiply_adds(lambda: model(*inputs[:3]))
    return CountedCost(0, total, 0, total, sum(p.numel() for p in model.parameters()))
