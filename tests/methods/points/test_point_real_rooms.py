"""Two real rooms learned by heart: points, pictures, cameras and boxes as they come.

The points stay the same: the smallest object, a night stand, has one seed of 128, and another one in other points.
"""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.methods.points import build
from sparsefuse.metrics.points import DetectionScores

ROOMS = Path(__file__).parents[4] / "shared" / "data" / "dense" / "sunrgbd3d"
STEPS = 240


def rooms():
    """Points (2, 20000, 3), pictures of 96 x 128, cameras and boxes."""
    if not ROOMS.is_dir():
        pytest.skip(f"needs the real rooms in {ROOMS}")
    xyz, pictures, cameras, boxes = [], [], [], torch.zeros(2, 3, 9)
    for i, name in enumerate(("000001", "000017")):
        with np.load(ROOMS / f"{name}.npz") as room, av.open(str(ROOMS / f"{name}.jpg")) as file:
            whole = torch.from_numpy(next(file.decode(video=0)).to_ndarray(format="rgb24"))
            xyz.append(torch.from_numpy(room["points_mm"] / 1000).float())
            matrix, box, label = (torch.from_numpy(room[k]).float() for k in ("to_image", "boxes", "classes"))
        pictures.append(F.interpolate(whole.permute(2, 0, 1)[None] / 255, (96, 128), mode="area")[0].permute(1, 2, 0))
        cameras.append(Camera.from_matrix(matrix, torch.tensor(whole.shape[:2]), first=1).resized(96, 128))
        boxes[i, : len(box)] = torch.cat([box, label[:, None], torch.ones(len(box), 1)], 1)
    camera = Camera(*(torch.stack(part)[:, None] for part in zip(*cameras, strict=True)))
    known = Boxes(
        boxes[..., :3], boxes[..., 3:6], boxes[..., 6], boxes[..., 7].long(), boxes[..., 8], boxes[..., 8] > 0
    )
    return torch.stack(xyz), torch.stack(pictures)[:, None], camera, known


@pytest.mark.slow
@pytest.mark.parametrize("method", ["points", "tokenfusion"])
def test_two_real_rooms_are_learned_by_heart(method):
    points, pictures, cameras, known = rooms()
    some = points[:, torch.randperm(points.shape[1], generator=torch.Generator().manual_seed(0))[:2048]]
    cloud = Cloud(some, some[..., 2:], torch.ones(some.shape[:2], dtype=torch.bool))
    torch.manual_seed(0)
    model = build(method, 1, 10, size="tiny")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        loss = model.train().losses(model(cloud, pictures, cameras), known)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    scores = DetectionScores([str(i) for i in range(10)])
    with torch.no_grad():
        outputs = model.eval()(cloud, pictures, cameras)
    scores.update(model.boxes(outputs, every_class=True), known)
    assert scores.compute()["map25"] >= 0.95
