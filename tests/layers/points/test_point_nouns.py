"""Cameras: where points of the world fall in pictures, by hand and on real scenes."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sparsefuse.layers.points.nouns import Camera

DENSE = Path(__file__).parents[4] / "shared" / "data" / "dense"
KITTI = [f"kitti3d/00000{i}" for i in range(3)]
SUN = ["sunrgbd3d/000001", "sunrgbd3d/000017"]


def camera(rows=48, columns=64):
    """At (1, 2, 3), looking along y: right is x, down is -z."""
    pose = torch.tensor([[1.0, 0, 0, 1], [0, 0, 1, 2], [0, -1, 0, 3], [0, 0, 0, 1]])
    K = torch.tensor([[50.0, 0, 30], [0, 40, 20], [0, 0, 1]])
    return Camera(K, pose, torch.tensor([rows, columns]))


POINTS = torch.tensor([[1.0, 4, 3], [1.4, 4, 2.5], [0, 4, 3], [1.0, 1, 3], [3, 4, 3]])
"""on the axis; right and below; left; behind; out of the picture"""


def test_points_fall_where_they_do_by_hand():
    uv, depth, visible = camera().project(POINTS)
    torch.testing.assert_close(uv[[0, 1, 2, 4]], torch.tensor([[30.0, 20], [40, 30], [5, 20], [80, 20]]))
    assert depth.tolist() == [2, 2, 2, -1, 2]
    assert visible.tolist() == [True, True, True, False, False]
    assert uv.isfinite().all()


def test_a_pixel_reaches_half_a_pixel_around_its_centre():
    edges = torch.tensor([-0.51, -0.49, 63.49, 63.51])
    xyz = torch.stack([(edges - 30) / 50 * 2 + 1, torch.full((4,), 4.0), torch.full((4,), 3.0)], 1)
    assert camera().project(xyz).visible.tolist() == [False, True, True, False]


def test_where_there_is_no_picture_nothing_is_visible():
    cameras = Camera(*(torch.stack([part, part]) for part in camera()))
    cameras = cameras._replace(size=torch.tensor([[48, 64], [0, 0]]))
    for changed in (cameras, cameras.resized(20, 20), cameras.cropped(5, 5, 30, 30), cameras.flipped()):
        visible = changed.project(POINTS[None]).visible
        assert visible.any(1).tolist() == [True, False]


@pytest.mark.parametrize(("rows", "columns"), [(24, 32), (96, 128), (30, 100)])
def test_projections_follow_a_picture_that_is_resized(rows, columns):
    """A ramp of columns and rows, resized, holds at the new place what the old place was."""
    v, u = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    small = F.interpolate(torch.stack([u, v])[None], (rows, columns), mode="bilinear", align_corners=False)[0]
    before, after = camera().project(POINTS).uv[:3], camera().resized(rows, columns).project(POINTS).uv[:3]
    scale = torch.tensor([columns / 64, rows / 48])
    torch.testing.assert_close(after, (before + 0.5) * scale - 0.5)
    grid = (2 * after + 1) / torch.tensor([columns, rows]) - 1  # as grid_sample counts without aligned corners
    found = F.grid_sample(small[None], grid[None, None], align_corners=False)[0, :, 0].T
    torch.testing.assert_close(found, before, rtol=0, atol=1e-4)


def test_projections_follow_a_picture_that_is_cropped_and_flipped():
    before = camera().project(POINTS).uv[:3]
    part = camera().cropped(7, 4, 30, 40)
    torch.testing.assert_close(part.project(POINTS).uv[:3], before - torch.tensor([4.0, 7]))
    assert part.project(POINTS).visible.tolist() == [True, True, True, False, False]
    assert camera().cropped(21, 4, 20, 40).project(POINTS).visible.tolist() == [False, True, False, False, False]
    torch.testing.assert_close(camera().flipped().project(POINTS).uv[:3, 0], 63 - before[:, 0])
    turned = camera().resized(24, 32).cropped(2, 3, 20, 20).flipped()
    torch.testing.assert_close(turned.project(POINTS).uv[0], torch.tensor([19 - (30.5 / 2 - 0.5 - 3), 20.5 / 2 - 2.5]))


def test_a_world_that_is_moved_keeps_its_picture():
    turn = torch.tensor([[0.0, -2, 0, 5], [2, 0, 0, 1], [0, 0, 2, -3], [0, 0, 0, 1]])
    moved = POINTS @ turn[:3, :3].T + turn[:3, 3]
    torch.testing.assert_close(camera().moved(turn).project(moved).uv[:3], camera().project(POINTS).uv[:3])
    mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
    mirrored = camera().moved(mirror).project(POINTS * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(mirrored.uv[:3], camera().project(POINTS).uv[:3])


def real_scene(name, first):
    if not (DENSE / f"{name}.npz").exists():
        pytest.skip(f"needs the real scene {DENSE / name}.npz")
    with np.load(DENSE / f"{name}.npz") as held, av.open(str(DENSE / f"{name}.jpg")) as file:
        scene = dict(held)
        picture = torch.from_numpy(next(file.decode(video=0)).to_ndarray(format="rgb24"))
    camera = Camera.from_matrix(torch.from_numpy(scene["to_image"]), torch.tensor(picture.shape[:2]), first=first)
    return scene, picture, camera, torch.from_numpy(scene["points_mm"] / 1000)


@pytest.mark.parametrize("name", KITTI)
def test_points_of_real_streets_fall_into_their_picture(name):
    """Its points were chosen with edges of pixels, not centres, at whole numbers: a few lie half a pixel outside."""
    _, _, camera, xyz = real_scene(name, 0)
    uv, depth, visible = camera.project(xyz)
    assert visible.double().mean() > 0.998
    assert ((uv > -0.5) & (uv < camera.size.flip(0) + 0.5)).all()
    assert (depth > 0).all()


@pytest.mark.parametrize("name", SUN)
@pytest.mark.parametrize(("rows", "columns"), [(530, 730), (240, 320)])
def test_points_of_real_rooms_have_the_colours_of_their_pixels(name, rows, columns):
    scene, picture, camera, xyz = real_scene(name, 1)
    small = F.interpolate(picture.permute(2, 0, 1)[None].double(), (rows, columns), mode="area")[0].permute(1, 2, 0)
    uv, _, visible = camera.resized(rows, columns).project(xyz)
    assert visible.all()
    u, v = uv.round().long().unbind(-1)
    apart = (small[v, u] - torch.from_numpy(scene["colour"])).abs().mean() / 255
    one_pixel_off = (small[(v + 1).clamp_max(rows - 1), u] - torch.from_numpy(scene["colour"])).abs().mean() / 255
    assert apart < (0.0035 if rows == 530 else 0.025)
    assert apart < 0.8 * one_pixel_off
