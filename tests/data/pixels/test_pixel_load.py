"""Loading scenes: from a manifest to three splits, with all that is lost named."""

import numpy as np
import pytest
import torch

from data.pixels.scene_files import config, write_scenes
from data.shared_data import shared
from pngs import write_png
from sparsefuse.checks import check
from sparsefuse.config import Config
from sparsefuse.data.pixels.augment import augment
from sparsefuse.data.pixels.batches import collate
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.data.pixels.read import read_labels, read_picture
from sparsefuse.files.skipped import Unusable


def reasons(scenes):
    return {skip.id: (skip.modality, skip.reason) for skip in scenes.skips}


def test_a_manifest_becomes_scenes(tmp_path):
    rows = write_scenes(tmp_path)
    scenes = load_scenes(config(tmp_path, rows))
    assert {split: list(data.ids) for split, data in scenes.splits.items()} == {
        "train": [f"s0{i}" for i in range(6)], "valid": ["s06", "s07"], "test": ["s08", "s09"],
    }  # fmt: skip
    assert scenes.channels == {"depth": 2, "rgb": 3}
    assert scenes.size == (6, 8)
    assert not scenes.skips
    assert (scenes.streams["rgb"].kind, scenes.streams["depth"].kind, scenes.streams["depth"].unit) == (
        "color", "depth", 0.001,
    )  # fmt: skip
    assert scenes.classes == ["0", "1", "2"]
    assert scenes.outputs == 3
    scene = scenes.splits["valid"][1]
    assert scene.id == "s07"
    assert scene.target.tolist() == read_labels(tmp_path / rows[7]["label"]).tolist()
    batch = collate([scene, scenes.splits["test"][0]], scenes.channels, 255)
    assert batch.fields["depth"].x.shape == (2, 6, 8, 2)


def test_statistics_are_of_all_training_pixels_and_of_depth_that_was_measured(tmp_path):
    rows = write_scenes(tmp_path)
    scenes = load_scenes(config(tmp_path, rows))
    train = rows[:6]
    rgb = torch.cat([read_picture(tmp_path / r["rgb"], scenes.streams["rgb"]).flatten(0, 1) for r in train])
    depth = torch.cat([read_picture(tmp_path / r["depth"], scenes.streams["depth"]).flatten(0, 1) for r in train])
    metres = depth[depth[:, 1] > 0, 0]
    torch.testing.assert_close(scenes.stats["rgb"], (rgb.mean(0), rgb.std(0, correction=0)))
    expected = (
        torch.stack([metres.mean(), torch.tensor(0.0)]),
        torch.stack([metres.std(correction=0), torch.tensor(1.0)]),
    )
    torch.testing.assert_close(scenes.stats["depth"], expected)
    x = torch.cat([scenes.splits["train"][i].fields["depth"].flatten(0, 1) for i in range(6)])
    torch.testing.assert_close(x[:, 1], depth[:, 1])
    assert abs(float(x[x[:, 1] > 0, 0].mean())) < 1e-5


def test_without_room_in_memory_scenes_are_the_same(tmp_path):
    rows = write_scenes(tmp_path)
    one, other = (load_scenes(config(tmp_path, rows, data={"cache_mb": mb})) for mb in (0, 100))
    for a, b in zip(one.splits["train"], other.splits["train"], strict=True):  # type: ignore[arg-type]
        assert a.id == b.id
        assert torch.equal(a.fields["rgb"], b.fields["rgb"])
        assert torch.equal(a.target, b.target)


def test_a_missing_or_odd_file_costs_one_stream_and_a_label_the_sample(tmp_path):
    rows = write_scenes(tmp_path)
    (tmp_path / rows[0]["rgb"]).unlink()
    write_png(tmp_path / rows[1]["depth"], np.zeros((6, 11), np.uint16))
    write_png(tmp_path / rows[2]["depth"], np.full((6, 8), 9, np.uint8))
    write_png(tmp_path / rows[3]["label"], np.zeros((6, 8, 3), np.uint8))
    write_png(tmp_path / rows[4]["label"], np.full((6, 8), 255, np.uint8))
    write_png(tmp_path / rows[6]["label"], np.full((6, 8), 7, np.uint8))
    rows[8]["label"] = ""
    scenes = load_scenes(config(tmp_path, rows, pixels={"classes": ["wall", "floor", "table"]}))
    found = reasons(scenes)
    assert found["s00"][0] == "rgb"
    assert found["s00"][1].startswith("rgb/00.png: missing")
    assert found["s01"] == (
        "depth", "depth is 6 x 11, but its label is 6 x 8 (depth/01.png); crop both alike",
    )  # fmt: skip
    assert found["s02"][0] == "depth"
    assert "8 bits per pixel, too few for depth" in found["s02"][1]
    assert found["s03"][0] == ""
    assert "label/03.png: is in colour" in found["s03"][1]
    assert found["s04"][1] == "label/04.png: every pixel is 255, the number that is ignored (pixels.ignore)"
    assert found["s06"][1].startswith(
        "label/06.png: holds 7 in 48 pixels; pixels.classes names 3 classes, 0 to 2, and 255 is ignored"
    )
    assert found["s08"] == ("", "no label picture")
    assert {split: list(data.ids) for split, data in scenes.splits.items()} == {
        "train": ["s00", "s01", "s02", "s05"], "valid": ["s07"], "test": ["s09"],
    }  # fmt: skip
    assert list(scenes.splits["train"][0].fields) == ["depth"]


def test_classes_of_pixels_that_may_be_one_are_told(tmp_path, caplog):
    rows = write_scenes(tmp_path)
    load_scenes(config(tmp_path, rows, pixels={"classes": ["wall", "floor", "Wall "]}))
    assert "alike: 2 classes may be the same: 'wall', 'Wall '" in caplog.text


def test_strict_stops_at_the_first_loss(tmp_path):
    rows = write_scenes(tmp_path)
    (tmp_path / rows[4]["rgb"]).unlink()
    with pytest.raises(Unusable, match=r"sample s04: rgb/04\.png: missing"):
        load_scenes(config(tmp_path, rows, data={"strict": True}))


def test_a_stream_that_no_sample_has_is_an_error(tmp_path):
    rows = write_scenes(tmp_path)
    for i, row in enumerate(rows):
        write_png(tmp_path / row["depth"], np.full((3, 4), i, np.uint16))
    with pytest.raises(
        ValueError, match=r"no training sample has a usable 'depth': depth is 3 x 4, but its label is 6 x 8"
    ):
        load_scenes(config(tmp_path, rows))


def test_depth_that_is_empty_in_all_training_pictures_is_an_error(tmp_path):
    rows = write_scenes(tmp_path)
    for row in rows:
        write_png(tmp_path / row["depth"], np.zeros((6, 8), np.uint16))
    with pytest.raises(ValueError, match="depth: nothing was measured in any training picture"):
        load_scenes(config(tmp_path, rows))


def test_pictures_of_one_shape_are_resized_where_a_size_is_set(tmp_path):
    rows = write_scenes(tmp_path)
    write_png(tmp_path / rows[0]["depth"], np.full((3, 4), 2000, np.uint16))
    write_png(tmp_path / rows[1]["depth"], np.full((8, 6), 2000, np.uint16))
    scenes = load_scenes(config(tmp_path, rows, pixels={"height": 12, "width": 16}))
    assert scenes.size == (12, 16)
    assert scenes.splits["train"][0].fields["depth"].shape == (12, 16, 2)
    assert scenes.splits["train"][0].target.shape == (12, 16)
    assert list(reasons(scenes)) == ["s01"]


def test_height_alone_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"pixels\.height is 4 and pixels\.width 0; set both, or neither"):
        load_scenes(config(tmp_path, write_scenes(tmp_path), pixels={"height": 4}))


def test_instances_are_no_classes(tmp_path):
    rows = write_scenes(tmp_path)
    write_png(tmp_path / rows[2]["label"], np.full((6, 8), 40000, np.uint16))
    with pytest.raises(ValueError, match=r"sample s02: label/02\.png holds the number 40,000, .*are these instances"):
        load_scenes(config(tmp_path, rows))


def test_depth_in_other_units_than_most_is_skipped_unless_stated(tmp_path):
    rows = write_scenes(tmp_path)
    np.save(tmp_path / "depth.npy", np.full((6, 8), 2.0, np.float32))
    rows[5]["depth"] = "depth.npy"
    scenes = load_scenes(config(tmp_path, rows))
    assert "depth.npy: holds fractions, unlike most pictures of depth" in reasons(scenes)["s05"][1]


def test_depth_that_was_made_8_bits_is_not_read_as_gray_in_silence(tmp_path, caplog):
    rows = write_scenes(tmp_path)
    for i, row in enumerate(rows):
        write_png(tmp_path / row["depth"], np.arange(i, i + 48, dtype=np.uint8).reshape(6, 8))
    assert load_scenes(config(tmp_path, rows)).streams["depth"].kind == "gray"
    assert "depth: its pictures have 8 bits, so they are read as gray" in caplog.text
    assert [problem.kind for problem in check(config(tmp_path, rows)).problems] == ["unit"]
    caplog.clear()
    load_scenes(config(tmp_path, rows, pixels={"streams": {"depth": {"kind": "gray"}}}))
    assert not caplog.text
    with pytest.raises(ValueError, match=r"no training sample has a usable 'depth': .* has 8 bits per pixel"):
        load_scenes(config(tmp_path, rows, pixels={"streams": {"depth": {"kind": "depth"}}}))


def test_folds_are_drawn_at_random(tmp_path):
    rows = [{name: cell for name, cell in row.items() if name != "split"} for row in write_scenes(tmp_path)]
    tests = [
        load_scenes(config(tmp_path, rows, data={"split": {"k": 5, "fold": i}})).splits["test"].ids for i in range(5)
    ]
    assert sorted(id for ids in tests for id in ids) == [f"s{i:02d}" for i in range(10)]


def test_the_same_picture_in_two_splits_stops_training(tmp_path):
    rows = write_scenes(tmp_path)
    (tmp_path / rows[9]["rgb"]).write_bytes((tmp_path / rows[0]["rgb"]).read_bytes())
    with pytest.raises(ValueError, match=r"leak-content: rgb: 2 samples \(s00, s09\) have the same contents"):
        load_scenes(config(tmp_path, rows))
    scenes = load_scenes(config(tmp_path, rows, data={"leaks": "warn"}))
    assert len(scenes.splits["test"]) == 2
    (leak,) = scenes.leaks
    assert leak.startswith("scores may be too good: leak-content: rgb: 2 samples (s00, s09) have the same contents")


def test_fingerprints_are_of_contents(tmp_path):
    rows = write_scenes(tmp_path)
    before = load_scenes(config(tmp_path, rows)).fingerprints
    assert load_scenes(config(tmp_path, rows[::-1])).fingerprints == before
    labels = read_labels(tmp_path / rows[6]["label"]).numpy().astype(np.uint8)
    labels[3, 3] = 255 if labels[3, 3] != 255 else 0
    write_png(tmp_path / rows[6]["label"], labels)
    after = load_scenes(config(tmp_path, rows)).fingerprints
    assert after["valid"] != before["valid"]
    assert after["train"] == before["train"]


def test_without_splits_rows_are_drawn_and_groups_stay_together(tmp_path):
    rows = [{name: cell for name, cell in row.items() if name != "split"} for row in write_scenes(tmp_path)]
    drawn = load_scenes(config(tmp_path, rows))
    assert sum(map(len, drawn.splits.values())) == 10
    assert len(drawn.splits["train"]) == 7
    rows = [{**row, "group": f"g{i // 2}"} for i, row in enumerate(rows)]
    grouped = load_scenes(config(tmp_path, rows))
    room = {row["id"]: row["group"] for row in rows}
    split_of = {room[id]: split for split, data in grouped.splits.items() for id in data.ids}
    assert all(split_of[room[id]] == split for split, data in grouped.splits.items() for id in data.ids)


def test_columns_that_are_no_pictures_are_not_streams(tmp_path):
    rows = [{**row, "camera": "kinect v2", "target": row["rgb"]} for row in write_scenes(tmp_path)]
    assert list(load_scenes(config(tmp_path, rows)).streams) == ["depth", "rgb"]
    assert list(load_scenes(config(tmp_path, rows, data={"modalities": ["depth"]})).streams) == ["depth"]
    with pytest.raises(ValueError, match=r"pixels\.streams: unknown stream 'deph'; did you mean 'depth'"):
        load_scenes(config(tmp_path, rows, pixels={"streams": {"deph": {"unit": 1}}}))


def test_translation_has_targets_from_minus_1_to_1(tmp_path):
    rows = write_scenes(tmp_path)
    as_target = [{"id": r["id"], "split": r["split"], "depth": r["depth"], "target": r["rgb"]} for r in rows]
    scenes = load_scenes(config(tmp_path, as_target, data={"task": "translate"}))
    assert (scenes.classes, scenes.outputs, scenes.target.kind) == ([], 3, "color")
    x = read_picture(tmp_path / rows[0]["rgb"], scenes.target)
    torch.testing.assert_close(scenes.splits["train"][0].target, 2 * x - 1)


def test_a_target_of_depth_has_one_channel_and_is_unknown_where_nothing_was_measured(tmp_path):
    rows = write_scenes(tmp_path)
    write_png(tmp_path / rows[0]["depth"], (np.arange(48, dtype=np.uint16) // 3 * 100).reshape(6, 8))
    scenes = load_scenes(config(tmp_path, rows, data={"task": "translate", "label": "depth", "modalities": ["rgb"]}))
    x = read_picture(tmp_path / rows[0]["depth"], scenes.target)
    target = scenes.splits["train"][0].target
    assert scenes.outputs == 1
    assert target.shape == (6, 8, 1)
    assert torch.equal(target.isnan()[..., 0], x[..., 1] == 0)
    assert int(target.isnan().sum()) == 3
    mean, std = scenes.target_stats
    torch.testing.assert_close((target * std + mean)[..., 0].nan_to_num(0), x[..., 0])
    everything = torch.cat([scenes.splits["train"][i].target.flatten() for i in range(6)])
    torch.testing.assert_close(everything.nan_to_num(0).max(), torch.tensor(1.0))
    torch.testing.assert_close(everything.nan_to_num(0).min(), torch.tensor(-1.0))


def test_normals_are_not_normalised(tmp_path):
    rows = write_scenes(tmp_path)
    scenes = load_scenes(config(tmp_path, rows, pixels={"streams": {"rgb": {"kind": "normal"}}}))
    assert scenes.stats["rgb"][0].tolist() == [0, 0, 0]
    assert scenes.stats["rgb"][1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.5), (1.5, 1.5)])
def test_a_target_without_a_normal_is_unknown_there(tmp_path, scale):
    normals = np.full((8, 8, 3), (127, 127, 255), np.uint8)
    normals[:, :4] = 127
    rows = write_scenes(tmp_path, height=8)
    for row in rows:
        write_png(tmp_path / row["label"], normals)
    translate = config(
        tmp_path, rows, data={"task": "translate"}, pixels={"target": {"kind": "normal"}, "scale": list(scale)}
    )
    scenes = load_scenes(translate)
    scene = augment(scenes.splits["train"][0], scenes.streams, translate.pixels, torch.Generator().manual_seed(0))
    batch = collate([scene], scenes.channels, 255)
    assert batch.mask.any()
    assert not batch.mask.all()
    torch.testing.assert_close(batch.target[batch.mask].norm(dim=-1), torch.ones(int(batch.mask.sum())))
    if scale == (1.0, 1.0):
        assert batch.mask[0].sum(0).tolist() == [0] * 4 + [8] * 4


@pytest.mark.slow
def test_real_depth_of_a_kinect_is_read_in_metres():
    folder = shared("dense") / "mosd"
    changes = {"manifest": str(folder / "manifest.csv"), "task": "segment", "label": "instance"}
    scenes = load_scenes(Config.load(data=changes, pixels={"classes": [f"object {i}" for i in range(20)]}))
    assert (sum(map(len, scenes.splits.values())), scenes.skips) == (110, [])
    assert list(scenes.channels.items()) == [("depth", 2), ("rgb", 3)]
    mean, std = scenes.stats["depth"]
    assert 0.4 < mean[0] < 1.5
    assert 0.05 < std[0] < 1
    scene = scenes.splits["train"][0]
    assert scene.fields["rgb"].shape[:2] == scene.target.shape
