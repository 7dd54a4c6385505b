"""Batches of scenes in space: how those with fewer points, pictures or boxes are padded."""

from collections.abc import Sequence

import torch

from sparsefuse.data.points.scenes import CloudBatch, CloudScene
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud


def collate(scenes: Sequence[CloudScene]) -> CloudBatch:
    """Pads with zeros, which masks and sizes say are not real. All boxes of all scenes are there, however many."""
    cloud, boxes = _cloud(scenes), _boxes(scenes)
    count = max(len(scene.pictures) for scene in scenes)
    if not count:
        return CloudBatch([scene.id for scene in scenes], cloud, None, None, boxes)
    height, width = (max(p.shape[axis] for scene in scenes for p in scene.pictures) for axis in (0, 1))
    pictures = torch.zeros(len(scenes), count, height, width, 3)
    K, pose = (torch.eye(side).repeat(len(scenes), count, 1, 1) for side in (3, 4))
    size = torch.zeros(len(scenes), count, 2, dtype=torch.long)
    for i, scene in enumerate(scenes):
        for c, picture in enumerate(scene.pictures):
            pictures[i, c, : picture.shape[0], : picture.shape[1]] = picture
        for whole, part in zip((K, pose, size), scene.cameras, strict=True):
            whole[i, : len(part)] = part
    return CloudBatch([scene.id for scene in scenes], cloud, pictures, Camera(K, pose, size), boxes)


def _cloud(scenes: Sequence[CloudScene]) -> Cloud:
    most = max(len(scene.xyz) for scene in scenes)
    xyz = torch.zeros(len(scenes), most, 3)
    x = torch.zeros(len(scenes), most, scenes[0].x.shape[1])
    mask = torch.zeros(len(scenes), most, dtype=torch.bool)
    for i, scene in enumerate(scenes):
        count = len(scene.xyz)
        xyz[i, :count], x[i, :count], mask[i, :count] = scene.xyz, scene.x, True
    return Cloud(xyz, x, mask)


def _boxes(scenes: Sequence[CloudScene]) -> Boxes:
    most = max(len(scene.boxes) for scene in scenes)
    rows = torch.zeros(len(scenes), most, 7)
    label = torch.zeros(len(scenes), most, dtype=torch.long)
    mask = torch.zeros(len(scenes), most, dtype=torch.bool)
    for i, scene in enumerate(scenes):
        count = len(scene.boxes)
        rows[i, :count], label[i, :count], mask[i, :count] = scene.boxes, scene.labels, True
    return Boxes(rows[..., :3], rows[..., 3:6], rows[..., 6], label, mask.float(), mask)
