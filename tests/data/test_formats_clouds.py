"""Recipes of clouds: SUN RGB-D for detection and ScanNet, each on small files of its layout."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.linalg
import torch

from pngs import write_png
from sparsefuse.checks import check_config
from sparsefuse.config import Config
from sparsefuse.data import formats
from sparsefuse.data.formats.sunrgbd3d import CLASSES
from sparsefuse.data.points.load import load_clouds
from sparsefuse.files.rows import read_table
from sparsefuse.layers.points.nouns import Camera
from sparsefuse.media.still import read_still

ROOMS = Path(__file__).parents[3] / "shared" / "data" / "dense" / "sunrgbd3d"
TILT = scipy.linalg.qr([[1, 0.02, 0.05], [-0.01, 0.98, 0.2], [0.03, -0.2, 0.98]])[0]
TILT = TILT * np.sign(np.diag(TILT))
K = np.array([[520.0, 0, 365], [0, 521, 265], [0, 0, 1]])


def picture(path: Path, height: int = 6, width: int = 8) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return write_png(path, values)  # the bytes tell what it is, not its name


def numbers(path: Path, *lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(" ".join(str(float(x)) for x in np.ravel(line)) for line in lines) + "\n")


def points(count: int = 40) -> np.ndarray:
    random = np.random.default_rng(1)
    xyz = random.uniform(-1, 1, (count, 3)) + np.array([0, 4, 0])
    return np.concatenate([xyz, random.uniform(0, 1, (count, 3))], 1)


LABELS = """bed 3 4 10 11 0.5 3.0 -0.4 1.0 0.75 0.5 0.0 1.0 0 0
lamp 3 4 10 11 0.5 3.0 -0.4 1.0 0.75 0.5 0.0 1.0 0 0
night_stand 1 1 5 5 -1.0 2.0 -0.6 0.25 0.5 0.5 0.6 -0.8 0 0
"""
BOXES = [
    {"class": "bed", "centre": [0.5, 3.0, -0.4], "size": [1.5, 2.0, 1.0], "yaw": np.pi / 2},
    {"class": "night_stand", "centre": [-1.0, 2.0, -0.6], "size": [1.0, 0.5, 1.0], "yaw": -np.arctan2(0.8, 0.6)},
]


def trainval(source: Path, cloud: np.ndarray | None = None) -> Path:
    """Scenes 1 of val and 5051 of train, as VoteNet's scripts of MATLAB leave them."""
    folder = source / "sunrgbd_trainval"
    for name, number in (("val", 1), ("train", 5051)):
        numbers(folder / f"{name}_data_idx.txt", number)
        (folder / f"{name}_data_idx.txt").write_text(f"{number}\n")
        for part in ("depth", "image", "label", "label_v1"):
            (folder / part).mkdir(exist_ok=True)
        scipy.io.savemat(folder / f"depth/{number:06d}.mat", {"instance": points() if cloud is None else cloud})
        picture(folder / f"image/{number:06d}.jpg", 530, 730)
        numbers(folder / f"calib/{number:06d}.txt", TILT.ravel(order="F"), K.ravel(order="F"))
        (folder / f"label_v1/{number:06d}.txt").write_text(LABELS)
        (folder / f"label/{number:06d}.txt").write_text(LABELS.splitlines()[0] + "\n")
    return folder


def read(manifest: Path) -> dict[str, dict]:
    """id -> its cells, with the content of its files."""
    root, scenes = manifest.parent, {}
    for row in read_table(manifest).rows:
        scene = dict(row)
        scene["boxes"] = json.loads((root / row["boxes"]).read_text())
        scene["cameras"] = json.loads((root / row["cameras"]).read_text()) if row.get("cameras") else []
        with np.load(root / row["cloud"]) as cloud:
            scene |= {"xyz": cloud["xyz"], "colors": cloud["rgb"]}
        scenes[row["id"]] = scene
    return scenes


def camera(one: dict) -> Camera:
    K, pose = (torch.tensor(one[name], dtype=torch.float64) for name in ("K", "pose"))
    return Camera(K, pose, torch.tensor(one["size"]))


def assert_boxes(found: list[dict], expected: list[dict]) -> None:
    assert [box["class"] for box in found] == [box["class"] for box in expected]
    for one, other in zip(found, expected, strict=True):
        for key in ("centre", "size", "yaw"):
            np.testing.assert_allclose(one[key], other[key], atol=1e-6)


def test_boxes_of_sunrgbd_are_whole_and_turn_counter_clockwise(tmp_path):
    trainval(tmp_path / "in")
    scenes = read(formats.prepare("sunrgbd3d", tmp_path / "in", tmp_path / "out"))
    assert {id: scene["split"] for id, scene in scenes.items()} == {"000001": "test", "005051": "train"}
    config = Config.load(tmp_path / "out/detect.yaml")
    check_config(config)
    config = replace(config, data=replace(config.data, leaks="warn"))  # both scenes are the same
    assert load_clouds(config).boxes == {name: int(name in ("bed", "night_stand")) for name in CLASSES}
    for scene in scenes.values():
        assert_boxes(scene["boxes"], BOXES)
        np.testing.assert_allclose(scene["xyz"], points()[:, :3], atol=1e-6)
        np.testing.assert_allclose(scene["colors"], 255 * points()[:, 3:], atol=0.5)


def test_later_boxes_of_sunrgbd_are_an_option(tmp_path):
    folder = trainval(tmp_path / "in")
    scenes = read(formats.prepare("sunrgbd3d", folder, tmp_path / "out", {"boxes": "v2", "points": 9}))
    assert [len(scene["boxes"]) for scene in scenes.values()] == [1, 1]
    assert [scene["xyz"].shape for scene in scenes.values()] == [(9, 3), (9, 3)]


def test_points_of_sunrgbd_fall_where_its_calibration_says(tmp_path):
    trainval(tmp_path / "in")
    manifest = formats.prepare("sunrgbd3d", tmp_path / "in", tmp_path / "out")
    scene = read(manifest)["005051"]
    (one,) = scene["cameras"]
    assert (manifest.parent / one["picture"]).is_file()
    assert one["size"] == [530, 730]
    found = camera(one).project(torch.from_numpy(points()[:, :3]))
    right, forward, up = TILT.T @ points()[:, :3].T  # the calibration, as VoteNet's authors apply it
    u, v, depth = K @ np.stack([right, -up, forward])
    np.testing.assert_allclose(found.uv, np.stack([u / depth, v / depth], 1) - 1, atol=1e-6)
    np.testing.assert_allclose(found.depth, depth, atol=1e-9)


def test_votes_of_sunrgbd_give_the_same_boxes(tmp_path):
    trainval(tmp_path / "in")
    for split, number in (("val", 1), ("train", 5051)):
        folder = tmp_path / "in" / f"sunrgbd_pc_bbox_votes_50k_v1_{split}"
        folder.mkdir()
        np.savez_compressed(folder / f"{number:06d}_pc.npz", pc=points()[:20])
        rows = [[*b["centre"], *(x / 2 for x in b["size"]), -b["yaw"], k] for b, k in zip(BOXES, (0, 7), strict=True)]
        np.save(folder / f"{number:06d}_bbox.npy", np.array(rows))
    scenes = read(formats.prepare("sunrgbd3d", tmp_path / "in", tmp_path / "out"))
    for scene in scenes.values():
        assert_boxes(scene["boxes"], BOXES)
        assert len(scene["xyz"]) == 20
        assert len(scene["cameras"]) == 1


def test_damaged_scenes_of_sunrgbd_are_named(tmp_path):
    folder = trainval(tmp_path / "in")
    (folder / "label_v1/000001.txt").write_text("bed 3 4 10 11 0.5\n")
    manifest = formats.prepare("sunrgbd3d", tmp_path / "in", tmp_path / "out")
    assert list(read(manifest)) == ["005051"]
    skip = json.loads(manifest.with_name("skipped.jsonl").read_text())
    assert skip["id"] == "000001"
    assert "line 1: expected a class and 12 numbers" in skip["reason"]


def test_a_folder_without_sunrgbd_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no train_data_idx.txt"):
        formats.prepare("sunrgbd3d", tmp_path, tmp_path / "out")


def scannet(source: Path, *, votenet: bool) -> np.ndarray:
    """Rooms of train and val; the matrix that turns a scan into its room."""
    turn = np.array([[0.0, -1, 0, 2], [1, 0, 0, -1], [0, 0, 1, 0.5], [0, 0, 0, 1]])
    folder = source / ("scannet_train_detection_data" if votenet else "scannet_instance_data")
    folder.mkdir(parents=True)
    (source / "meta_data").mkdir()
    for split, id in (("train", "scene0000_00"), ("val", "scene0011_01")):
        (source / f"meta_data/scannetv2_{split}.txt").write_text(f"{id}\n")
        vertices = points() * [1, 1, 1, 255, 255, 255]
        boxes = np.array([[0, 4, 0, 1, 0.5, 2, 5], [1, 4, 0, 1, 1, 1, 2], [1, 3, 0, 0.2, 0.2, 0.3, 39]])
        if votenet:
            vertices[:, :3] = vertices[:, :3] @ turn[:3, :3].T + turn[:3, 3]
            (source / f"scans/{id}").mkdir(parents=True)
            text = f"colorHeight = 968\naxisAlignment = {' '.join(map(str, turn.ravel()))} \n"
            (source / f"scans/{id}/{id}.txt").write_text(text)
        else:
            np.save(folder / f"{id}_axis_align_matrix.npy", turn)
            np.save(folder / f"{id}_unaligned_bbox.npy", boxes + 1)
        np.save(folder / f"{id}_vert.npy", vertices)
        np.save(folder / f"{id}_{'bbox' if votenet else 'aligned_bbox'}.npy", boxes)
    return turn


POSE = np.array([[1.0, 0, 0, 0.25], [0, 0, 1, -0.5], [0, -1, 0, 0.125], [0, 0, 0, 1]])
"""looks along y"""


@pytest.mark.parametrize("votenet", [True, False])
def test_rooms_of_scannet_are_in_their_own_axes(tmp_path, votenet):
    source = tmp_path / "in"
    turn = scannet(source, votenet=votenet)
    intrinsic = np.eye(4)
    intrinsic[:3, :3] = K
    for id in ("scene0000_00", "scene0011_01"):
        place = source / ("scannet_frames_25k" if votenet else "posed_images") / id
        for i in range(5):
            where = (place / f"color/{i:05d}.jpg", place / f"pose/{i:05d}.txt") if votenet else (
                place / f"{i:05d}.jpg", place / f"{i:05d}.txt")  # fmt: skip
            picture(where[0], 530, 730)
            numbers(where[1], *(np.full((4, 4), -np.inf) if i == 4 else POSE))  # tracking was lost
        numbers(place / ("intrinsics_color.txt" if votenet else "intrinsic.txt"), *intrinsic)
    scenes = read(formats.prepare("scannet", source, tmp_path / "out", {"frames": 3}))
    assert {id: scene["split"] for id, scene in scenes.items()} == {"scene0000_00": "train", "scene0011_01": "test"}
    for scene in scenes.values():
        chair = {"class": "chair", "centre": [0, 4, 0], "size": [1, 0.5, 2], "yaw": 0}
        bin = {"class": "garbagebin", "centre": [1, 3, 0], "size": [0.2, 0.2, 0.3], "yaw": 0}
        assert_boxes(scene["boxes"], [chair, bin])
        np.testing.assert_allclose(scene["xyz"], points()[:, :3] @ turn[:3, :3].T + turn[:3, 3], atol=1e-5)
        assert [Path(one["picture"]).stem for one in scene["cameras"]] == ["00000", "00002", "00003"]
        found = camera(scene["cameras"][1]).project(torch.from_numpy(scene["xyz"]).double())
        seen = (points()[:, :3] - POSE[:3, 3]) @ POSE[:3, :3]  # in the axes of the scan
        np.testing.assert_allclose(found.uv, (seen @ K.T)[:, :2] / seen[:, 2:], atol=1e-3)


def test_pictures_of_scannet_that_cannot_be_placed_are_refused(tmp_path):
    scannet(tmp_path / "in", votenet=True)
    shutil.rmtree(tmp_path / "in/scans")
    picture(tmp_path / "in/posed_images/scene0000_00/00000.jpg")
    manifest = formats.prepare("scannet", tmp_path / "in", tmp_path / "out")
    assert "has no line 'axisAlignment = '" in manifest.with_name("skipped.jsonl").read_text()
    assert list(read(manifest)) == ["scene0011_01"]
    assert len(read(formats.prepare("scannet", tmp_path / "in", tmp_path / "blind", {"frames": 0}))) == 2


@pytest.mark.parametrize(("name", "most"), [("000001", 0.012), ("000017", 0.027)])
def test_points_of_real_rooms_fall_on_their_pixels(tmp_path, name, most):
    if not ROOMS.is_dir():
        pytest.skip(f"needs the real rooms in {ROOMS}")
    with np.load(ROOMS / f"{name}.npz") as room:
        xyz, colors, matrix = room["points_mm"] / 1000, room["colour"], room["to_image"]
    source = trainval(tmp_path / "in", np.concatenate([xyz, colors / 255], 1))
    own, turn = scipy.linalg.rq(matrix)  # the published calibration, back from its product
    signs = np.diag(np.sign(np.diag(own)))
    own, turn = own @ signs, signs @ turn
    tilt = turn.T @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    numbers(source / "calib/005051.txt", tilt.ravel(order="F"), own.ravel(order="F"))
    shutil.copy(ROOMS / f"{name}.jpg", source / "image/005051.jpg")
    scene = read(formats.prepare("sunrgbd3d", source, tmp_path / "out"))["005051"]
    found = camera(scene["cameras"][0]).project(torch.from_numpy(scene["xyz"]).double())
    assert found.visible.float().mean() > 0.995
    pixels = read_still(ROOMS / f"{name}.jpg").values
    u, v = found.uv[found.visible].round().long().unbind(1)
    assert np.abs(pixels[v, u] / 255 - scene["colors"][found.visible] / 255).mean() < most
