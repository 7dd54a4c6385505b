"""A generated folder: whole, the same again, resumed, refused, and ready to train on."""

import csv
import json
from collections import Counter

import av
import numpy as np
import pytest

from sparsefuse.checks import check_config
from sparsefuse.config import Config
from sparsefuse.data.points.load import load_clouds
from sparsefuse.rooms import CLASSES, generate, room
from sparsefuse.rooms.camera import Camera, to_pixels
from sparsefuse.rooms.folder import STREAMS, split_of_each
from sparsefuse.rooms.names import OBJECTS

SIZE = 16


def made(folder, scenes=6, **more):
    return generate(folder, scenes, more.pop("size", SIZE), jobs=1, progress=False, **more)


def rows_of(manifest):
    with manifest.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def picture(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray()


def state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms")
    made(folder, 6, clouds=True, frames=2, num_points=300)
    return folder


def test_pictures_read_back_as_the_rooms_are(folder):
    rows = rows_of(folder / "manifest.csv")
    assert [row["id"] for row in rows] == [f"room_{i:06d}" for i in range(6)]
    for i, row in enumerate(rows):
        shown = room(i, SIZE, SIZE)
        assert np.array_equal(picture(folder / row["rgb"]), shown.rgb)
        assert np.array_equal(picture(folder / row["clear"]), shown.clear)
        assert np.array_equal(picture(folder / row["label"]), shown.label)
        depth = picture(folder / row["depth"])
        assert depth.dtype == np.uint16
        assert np.array_equal(depth, shown.sensor)
        for name in ("shade", "texture", "edges"):
            assert np.abs(picture(folder / row[name]) / 255 - getattr(shown, name)).max() <= 0.51 / 255
        assert np.abs(picture(folder / row["normal"]) / 127.5 - 1 - shown.normal).max() <= 1.02 / 255


def test_clouds_boxes_and_cameras_agree_with_their_pictures(folder):
    for i, row in enumerate(rows_of(folder / "manifest.csv")):
        with np.load(folder / row["cloud"]) as points:
            xyz, rgb = points["xyz"], points["rgb"]
        assert xyz.shape == rgb.shape == (300, 3)
        assert xyz.dtype == np.float32
        assert rgb.dtype == np.uint8
        cameras = json.loads((folder / row["cameras"]).read_text())
        assert [camera["picture"] for camera in cameras] == [row["rgb"], f"views/{row['id']}_1.png"]
        found = np.zeros(300, bool)
        for camera in cameras:
            shown = picture(folder / camera["picture"])
            assert list(shown.shape[:2]) == camera["size"] == [SIZE, SIZE]
            u, v, depth = to_pixels(Camera(np.array(camera["K"]), np.array(camera["pose"])), xyz).T
            column, line = np.rint(u).astype(int), np.rint(v).astype(int)
            own = (depth > 0) & (np.abs(u - column) < 1e-3) & (np.abs(v - line) < 1e-3)
            own &= (column >= 0) & (column < SIZE) & (line >= 0) & (line < SIZE)
            own[own] = (shown[line[own], column[own]] == rgb[own]).all(1)
            found |= own
        assert found.all()
        boxes = json.loads((folder / row["boxes"]).read_text())
        seen = {instance for view in range(2) for instance in room(i, SIZE, SIZE, view=view).boxes.instance}
        assert len(boxes) == len(seen)
        assert all(box["class"] in CLASSES and len(box["centre"]) == len(box["size"]) == 3 for box in boxes)


def test_configurations_load_and_name_what_is_there(folder):
    for name, task, target in (("segment", "segment", "label"), ("translate", "translate", "clear")):
        config = Config.load(folder / f"{name}.yaml")
        assert config.data.task == task
        assert config.data.label == target
        row = rows_of(folder / "manifest.csv")[0]
        assert {*config.data.modalities, target} <= row.keys()
        assert config.options["all"] == {"size": "tiny"}
        assert config.train.mixup_alpha == 0
    assert Config.load(folder / "segment.yaml").pixels.classes == list(CLASSES)
    config = Config.load(folder / "detect.yaml")
    check_config(config)
    scenes = load_clouds(config)
    assert (scenes.frames, scenes.size, scenes.skips) == (2, (SIZE, SIZE), [])
    assert scenes.classes == [CLASSES[label] for label in OBJECTS]
    assert config.options["all"] == {"size": "tiny"}


def test_splits_are_disjoint_in_their_shares_and_stay_as_a_set_grows():
    splits = split_of_each(200, (0.75, 0.1, 0.15))
    assert Counter(splits) == {"train": 150, "valid": 20, "test": 30}
    assert split_of_each(1000, (0.75, 0.1, 0.15))[:200] == splits
    assert set(splits[:20]) == {"train", "valid", "test"}
    assert set(split_of_each(5, (0, 0, 1))) == {"test"}


def test_a_link_in_a_circle_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(FileExistsError, match="a link to nothing"):
        made(tmp_path / "loop")


def test_sets_of_two_seeds_share_no_room(tmp_path):
    for seed in (0, 1):
        made(tmp_path / str(seed), 2, seed=seed)
    assert picture(tmp_path / "1/label/room_000000.png").tolist() == room(1_000_000, SIZE, SIZE).label.tolist()
    assert state(tmp_path / "0").keys() != state(tmp_path / "1").keys()


def test_a_rerun_makes_what_is_missing_and_nothing_else(tmp_path):
    manifest = made(tmp_path, 3)
    before, lost = state(tmp_path), tmp_path / "depth/room_000001.png"
    content = lost.read_bytes()
    lost.unlink()
    made(tmp_path, 3)
    after = state(tmp_path)
    assert lost.read_bytes() == content
    assert before.keys() == after.keys()
    assert {path.stem for path in before if before[path] != after[path]} == {"room_000001"}
    made(tmp_path, 4)
    assert {path: time for path, time in state(tmp_path).items() if path in after} == after
    assert len(rows_of(manifest)) == 4


def test_clouds_are_added_and_stay(tmp_path):
    made(tmp_path, 2)
    assert "cloud" not in rows_of(tmp_path / "manifest.csv")[0]
    assert not (tmp_path / "detect.yaml").exists()
    made(tmp_path, 2, clouds=True, num_points=50)
    made(tmp_path, 3)
    rows = rows_of(tmp_path / "manifest.csv")
    assert len(rows) == 3
    assert all((tmp_path / row[name]).is_file() for row in rows for name in ("cloud", "boxes"))
    assert (tmp_path / "detect.yaml").exists()


def test_a_configuration_that_was_edited_is_kept(tmp_path):
    made(tmp_path, 1)
    (tmp_path / "segment.yaml").write_text("mine")
    made(tmp_path, 2)
    assert (tmp_path / "segment.yaml").read_text() == "mine"


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(FileExistsError, match=r"holds 1 other file \(thesis.tex\); give a new or empty folder"):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FileExistsError, match=r"thesis.tex is a file, or a link to nothing; give"):
        made(tmp_path / "thesis.tex")


@pytest.mark.parametrize("other", [{"size": 32}, {"seed": 1}, {"fractions": (0.5, 0.2, 0.3)}, {"clouds": True}])
def test_a_folder_of_another_set_is_refused(tmp_path, other):
    made(tmp_path, 1, clouds=True, frames=2, num_points=50)
    with pytest.raises(ValueError, match=r"holds rooms of size: 16, seed: 0, .* not .*; give another folder"):
        made(tmp_path, 1, **other)


@pytest.mark.parametrize(
    "record",
    ["[]", '{"size": 16}', "null", "{oops", "[" * 100_000, "\0", '{"size": 16, "seed": 0, "fractions": 3}',
     '{"size": 16, "seed": 0, "fractions": [0.75, 0.1, 0.15], "frames": "many", "num_points": -3}'],
    ids=range(8),
)  # fmt: skip
def test_a_record_that_is_none_is_refused(tmp_path, record):
    (tmp_path / "rooms.json").write_text(record)
    with pytest.raises(ValueError, match="is not one that `generate rooms` wrote; give a new or empty folder"):
        made(tmp_path, 1)


def test_more_than_the_disk_holds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"100000 scenes of 1024 x 1024 take about .* GB free: ask for fewer"):
        made(tmp_path / "new", 100_000, size=1024)
    assert not (tmp_path / "new").exists()


def test_an_empty_file_is_made_again(tmp_path):
    made(tmp_path, 1)
    (tmp_path / "rgb/room_000000.png").write_bytes(b"")
    made(tmp_path, 1)
    assert np.array_equal(picture(tmp_path / "rgb/room_000000.png"), room(0, SIZE, SIZE).rgb)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scenes": 0}, "scenes must be a whole number of 1 to 1000000; got 0"),
        ({"scenes": 10**12}, "scenes must be .* got 1000000000000"),
        ({"scenes": 2.0}, r"scenes must be .* got 2\.0"),
        ({"size": 8}, "size must be a whole number of 16 to 1024; got 8"),
        ({"size": 10**6}, "size must be .* got 1000000"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"clouds": True, "frames": 99}, "frames must be a whole number of 1 to 16; got 99"),
        ({"clouds": True, "num_points": 0}, "num_points must be .* got 0"),
        ({"frames": 2}, "frames are of clouds: give clouds too, or 1 frame; got 2"),
        ({"fractions": (0.5, 0.5)}, r"fractions are three shares .* got \[0\.5, 0\.5\]"),
        ({"fractions": (2.0, -0.5, -0.5)}, "fractions are three shares"),
        ({"fractions": (float("nan"), 0.5, 0.5)}, "fractions are three shares"),
    ],
)
def test_numbers_out_of_range_are_refused_before_a_file_is_written(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path / "new", **({"scenes": 1} | wrong))
    assert not (tmp_path / "new").exists()


def test_every_stream_is_a_folder_and_a_column(folder):
    assert {*STREAMS, "views", "cloud", "cameras", "boxes"} == {path.name for path in folder.iterdir() if path.is_dir()}
    assert not list(folder.rglob(".*"))


@pytest.mark.slow
def test_processes_make_the_same_files_as_one(tmp_path):
    made(tmp_path / "one", 20)
    generate(tmp_path / "two", 20, SIZE, jobs=2, progress=False)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.png"))
    assert len(files) == 20 * len(STREAMS)
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)
