"""Scenes from a manifest: what is read, what is left out and why, and batches of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_points
from pngs import write_png
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.load import load_clouds
from sparsefuse.data.points.read import as_cameras
from sparsefuse.files.skipped import Unusable


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tiny_points.write_clouds(tmp_path)


def change(manifest: Path, name: str, value: object) -> None:
    (manifest.parent / name).write_text(json.dumps(value))


def boxes_of(manifest: Path, name: str) -> list[dict]:
    return json.loads((manifest.parent / f"boxes/{name}.json").read_text())


def test_scenes_are_read_as_they_were_written(manifest: Path) -> None:
    scenes = load_clouds(tiny_points.config(manifest, points={"channels": ["height", "color"]}))
    assert {split: len(part) for split, part in scenes.splits.items()} == {"train": 6, "valid": 2, "test": 3}
    assert scenes.classes == ["crate", "drum"]
    assert scenes.num_channels == 4
    assert (scenes.points, scenes.frames, scenes.size) == (64, 2, (16, 16))
    assert sum(scenes.boxes.values()) == 12
    assert scenes.skips == []
    scene, known = scenes.splits["train"][0], boxes_of(manifest, "train0")
    with np.load(manifest.parent / "cloud/train0.npz") as cloud:
        assert np.array_equal(scene.xyz, cloud["xyz"])
        assert np.allclose(scene.x[:, 1:], cloud["rgb"] / 255)
        assert np.allclose(scene.x[:, 0], cloud["xyz"][:, 2] - np.quantile(cloud["xyz"][:, 2], 0.01), atol=1e-6)
    for row, label, box in zip(scene.boxes.tolist(), scene.labels.tolist(), known, strict=True):
        assert row == pytest.approx([*box["centre"], *box["size"], box["yaw"]])
        assert scenes.classes[label] == box["class"]
    assert torch.allclose(scene.cameras.pose[1], torch.from_numpy(tiny_points.pose(1)).float())
    pictures = torch.stack([p for i in range(6) for p in scenes.splits["train"][i].pictures]).flatten(0, 2)
    assert pictures.mean(0).abs().max() < 1e-5
    assert (pictures.std(0) - 1).abs().max() < 1e-3
    assert scenes.splits["train"][1].pictures == []


def test_points_fall_on_their_own_colours_in_pictures_of_any_size(manifest: Path) -> None:
    """The camera of a picture that is resized follows it."""
    for size in ({}, {"height": 32, "width": 48}):
        scenes = load_clouds(
            tiny_points.config(manifest, points={"channels": ["color"], **size}, data={"normalise": False})
        )
        scene = scenes.splits["train"][0]
        place = scene.cameras.project(scene.xyz)
        column, row = place.uv[0].round().long().unbind(-1)
        seen = place.visible[0]
        shown = scene.pictures[0][row[seen], column[seen]]
        red = shown[:, 0] > shown[:, 2]
        painted = scene.x[seen]
        boxes = (painted[:, 0] - painted[:, 2]).abs() > 0.1  # no floor
        assert seen.sum() > 40
        assert (red == (painted[:, 0] > painted[:, 2]))[boxes].float().mean() > 0.85  # boxes hide one another


def test_frames_are_the_first_pictures(manifest: Path) -> None:
    assert [len(load_clouds(tiny_points.config(manifest, points={"frames": n})).splits["train"][0].pictures)
            for n in (0, 1, 2, None)] == [0, 1, 2, 2]  # fmt: skip


@pytest.mark.parametrize(
    ("change_to", "message"),
    [
        ([{"class": "crate", "centre": [0, 2, 0], "size": [1, 0, 1]}], r"box 1 \(crate\) has size .*, expected length"),
        ([{"class": "crate", "centre": [0, 2, 0], "size": [1, -1, 1]}], "expected lengths above 0"),
        ([{"class": "crate", "centre": [0, 2], "size": [1, 1, 1]}], r"has centre \[0, 2\], expected 3 finite numbers"),
        ([{"class": "crate", "centre": [0, 2, float("nan")], "size": [1, 1, 1]}], "expected 3 finite numbers"),
        ([{"class": "crate", "centre": [0, 2, 0], "size": [1, 1, 1], "yaw": "left"}], "has yaw left, expected radians"),
        ([{"class": "crate", "centre": [0, 2, 0], "size": [1, 1, 1], "yaw": 90}], "has yaw 90, expected radians"),
        ([{"class": "crate", "centre": [0, 2, 0], "size": [1, 1, 1], "yaw": 10**400}], "expected radians"),
        ([{"class": "", "centre": [0, 2, 0], "size": [1, 1, 1]}], "box 1 has class , expected a name"),
        ([{"class": "lamp", "centre": [0, 2, 0], "size": [1, 1, 1]}], "unknown class of a box 'lamp'.*points.classes"),
        ({"class": "crate"}, "holds an object, expected a list of boxes"),
        ([3], "box 1 is a number, expected class"),
    ],
)  # fmt: skip
def test_boxes_that_cannot_be_are_named_and_the_rest_goes_on(manifest: Path, change_to: object, message: str) -> None:
    change(manifest, "boxes/train2.json", change_to)
    scenes = load_clouds(tiny_points.config(manifest, points={"classes": ["crate", "drum"]}))
    assert [(skip.id, skip.modality) for skip in scenes.skips] == [("train2", "")]
    with pytest.raises(Unusable, match=message):
        load_clouds(tiny_points.config(manifest, points={"classes": ["crate", "drum"]}, data={"strict": True}))
    assert len(scenes.splits["train"]) == 5


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"xyz": np.zeros((0, 3))}, "has no point"),
        ({"xyz": np.array([[0, 1, np.nan], [np.inf, 1, 2]])}, "all of 2 points are NaN or infinite"),
        ({"xyz": np.array([[0, 1, 1e39], [0, 1, 2]])}, "expected metres"),
        ({"xyz": np.full((4, 3), 1e30)}, "expected metres"),
        ({"xyz": np.full((4, 3), 500_000.01)}, "subtract a point of the scene from points, boxes and poses"),
        ({"xyz": np.zeros((9, 2))}, r"xyz has shape \(9, 2\), expected \(points, 3\)"),
        ({"points": np.zeros((9, 3))}, "xyz"),
        (None, "file not found"),
    ],
)
def test_clouds_that_cannot_be_used_are_named(manifest: Path, arrays: dict | None, message: str) -> None:
    path = manifest.parent / "cloud/train2.npz"
    path.unlink()
    if arrays is not None:
        np.savez(path, **arrays)
    scenes = load_clouds(tiny_points.config(manifest))
    (skip,) = scenes.skips
    assert skip.id == "train2"
    with pytest.raises(Unusable, match=message):
        raise Unusable(skip.reason)
    assert len(scenes.splits["train"]) == 5


def test_rows_of_a_cloud_that_are_nowhere_are_left_out_and_counted(manifest: Path, caplog) -> None:
    """With their colours, of which those of the other rows must be colours."""
    path, channels = manifest.parent / "cloud/train2.npz", {"channels": ["height", "color"]}
    whole = load_clouds(tiny_points.config(manifest, points=channels)).splits["train"][2]
    with np.load(path) as cloud:
        xyz, rgb = (np.repeat(cloud[part], 2, 0) for part in ("xyz", "rgb"))
    xyz[1::4], xyz[3::4, 0], rgb = np.nan, np.inf, rgb / 255
    rgb[1::2] = np.nan
    np.savez(path, xyz=xyz, rgb=rgb)
    caplog.set_level("INFO")
    scenes = load_clouds(tiny_points.config(manifest, points=channels))
    scene = scenes.splits["train"][2]
    assert torch.equal(scene.xyz, whole.xyz)
    assert torch.allclose(scene.x, whole.x)
    assert scenes.skips == []
    assert "cloud: 90 of 180 points of 1 scene are NaN or infinite, and left out (train2)" in caplog.messages
    rgb[0] = np.nan
    np.savez(path, xyz=xyz, rgb=rgb)
    (skip,) = load_clouds(tiny_points.config(manifest, points=channels)).skips
    assert "rgb goes from nan to nan" in skip.reason


def test_classes_of_boxes_that_may_be_one_are_told(manifest: Path, caplog) -> None:
    boxes = boxes_of(manifest, "train2")
    for box, name in zip(boxes, ("Cafe\u0301 table", "caf\u00e9 Table"), strict=True):
        box["class"] = name
    change(manifest, "boxes/train2.json", boxes)
    scenes = load_clouds(tiny_points.config(manifest))
    assert len(scenes.classes) == 4
    assert "alike: 2 classes may be the same" in caplog.text


def test_colours_that_are_asked_for_and_missing_are_named(manifest: Path) -> None:
    np.savez(manifest.parent / "cloud/train2.npz", xyz=np.zeros((9, 3)))
    (skip,) = load_clouds(tiny_points.config(manifest, points={"channels": ["color"]})).skips
    assert "rgb" in skip.reason


def test_a_picture_that_cannot_be_used_costs_that_picture_alone(manifest: Path) -> None:
    root = manifest.parent
    (root / "rgb/train0_1.png").unlink()
    write_png(root / "rgb/train2_0.png", np.zeros((8, 8, 3), np.uint8))
    cameras = json.loads((root / "cameras/train3.json").read_text())
    cameras[0]["K"] = [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    change(manifest, "cameras/train3.json", cameras)
    cameras = json.loads((root / "cameras/train4.json").read_text())
    cameras[0]["pose"][0][0] = 5
    change(manifest, "cameras/train4.json", cameras)
    (root / "cameras/train5.json").write_text("[{")
    scenes = load_clouds(tiny_points.config(manifest))
    assert [len(scenes.splits["train"][i].pictures) for i in range(6)] == [1, 0, 1, 0, 0, 0]
    reasons = {skip.id: skip.reason for skip in scenes.skips}
    assert {skip.modality for skip in scenes.skips} == {"cameras"}
    assert "rgb/train0_1.png" in reasons["train0"]
    assert "has 8 x 8 pixels, its camera says 16 x 16" in reasons["train2"]
    assert "expected [[fx, 0, cx]" in reasons["train3"]
    assert "expected camera to world" in reasons["train4"]
    assert "is not JSON" in reasons["train5"]


@pytest.mark.parametrize(
    ("change_to", "message"),
    [
        ({"K": [[1e300, 0, 8], [0, 1e300, 8], [0, 0, 1]]}, "expected .*fx, 0, cx"),
        ({"pose": [[-1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "whose rotation mirrors"),
        ({"pose": [[1.0, 0, 0, 500_000], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "expected metres"),
    ],
)
def test_cameras_that_no_picture_has_are_named(change_to: dict, message: str) -> None:
    usual = {"picture": "a.png", "size": [16, 16], "K": tiny_points.K.tolist(), "pose": tiny_points.pose(0).tolist()}
    assert len(as_cameras([usual])) == 1
    with pytest.raises(Unusable, match=f"camera 1 .*{message}"):
        as_cameras([usual | change_to])


def test_a_mark_of_byte_order_is_no_part_of_json(manifest: Path) -> None:
    path = manifest.parent / "boxes/train0.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert not load_clouds(tiny_points.config(manifest)).skips


def test_a_scene_has_all_its_boxes_however_many(manifest: Path) -> None:
    """The release empties a scene of 64, and cuts those of more."""
    many = [{"class": "crate", "centre": [i % 10 - 5, 2 + i // 10, 0], "size": [0.3, 0.3, 0.3]} for i in range(70)]
    change(manifest, "boxes/train0.json", many)
    change(manifest, "boxes/train1.json", many[:64])
    change(manifest, "boxes/train2.json", [])
    train = load_clouds(tiny_points.config(manifest)).splits["train"]
    batch = collate([train[i] for i in range(4)])
    assert batch.boxes.mask.sum(1).tolist() == [70, 64, 0, 2]
    assert batch.boxes.centre[0, 69].tolist() == [4, 8, 0]


def test_batches_say_what_is_padding(manifest: Path) -> None:
    train = load_clouds(tiny_points.config(manifest)).splits["train"]
    scenes = [train[0], train[1], train[2]._replace(xyz=train[2].xyz[:7], x=train[2].x[:7])]
    batch = collate(scenes)
    assert batch.cloud.mask.sum(1).tolist() == [90, 90, 7]
    assert batch.pictures is not None
    assert batch.cameras is not None
    assert batch.pictures.shape == (3, 2, 16, 16, 3)
    assert batch.cameras.size[:, :, 0].tolist() == [[16, 16], [0, 0], [16, 16]]
    assert collate(scenes[1:2]).pictures is None


def test_clouds_in_two_splits_stop_a_run(manifest: Path) -> None:
    (manifest.parent / "cloud/test0.npz").write_bytes((manifest.parent / "cloud/train0.npz").read_bytes())
    with pytest.raises(ValueError, match=r"data.leaks=warn"):
        load_clouds(tiny_points.config(manifest))
    (leak,) = load_clouds(tiny_points.config(manifest, data={"leaks": "warn"})).leaks
    assert leak.startswith("scores may be too good: leak-content: cloud: 2 samples")


def test_columns_that_there_are_not_are_named(manifest: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown column 'clouds'; did you mean 'cloud'.*points\.cloud"):
        load_clouds(tiny_points.config(manifest, points={"cloud": "clouds"}))
    with pytest.raises(ValueError, match=r"unknown column 'views'.*points\.cameras"):
        load_clouds(tiny_points.config(manifest, points={"cameras": "views"}))
