"""Recipes of pictures: NYU Depth v2, SUN RGB-D, Taskonomy and folders, each on small files of its layout."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from pngs import write_png
from sparsefuse.checks import check_config
from sparsefuse.config import Config
from sparsefuse.data import formats
from sparsefuse.data.formats.nyuv2 import CLASSES
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.data.pixels.read import read_labels, read_picture
from sparsefuse.files.rows import read_table

RANDOM = np.random.default_rng(0)


def colours(path: Path, height: int = 6, width: int = 8) -> None:
    write_png(path, RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


def depths(path: Path, height: int = 6, width: int = 8) -> np.ndarray:
    values = RANDOM.integers(500, 5000, (height, width), dtype=np.uint16)
    write_png(path, values)
    return values


def labels(path: Path, low: int = 0, high: int = 3, height: int = 6, width: int = 8) -> np.ndarray:
    values = RANDOM.integers(low, high, (height, width), dtype=np.uint8)
    values[0, 0], values[0, 1] = low, high - 1
    write_png(path, values)
    return values


def loaded(manifest: Path, task: str = "segment", **changes):
    """The scenes of the configuration that the recipe wrote, which must be one to train on."""
    config = Config.load(manifest.with_name(f"{task}.yaml"), **changes)
    check_config(config)
    return load_scenes(config)


@pytest.mark.parametrize("place", ["{split}/{stream}", "{stream}/{split}", "{stream}"])
def test_folders_of_streams_are_scenes(tmp_path, place):
    source = tmp_path / "in"
    for i, split in enumerate(["train", "train", "val", "test"]):
        for stream, write in {"RGB": colours, "depth": depths, "Labels": labels}.items():
            write(source / place.format(split=split, stream=stream) / f"{i}.png")
    if place == "{stream}":
        for name, stems in {"train": "0\n1\n", "val": "RGB/2.png\tLabels/2.png\n", "test": "3"}.items():
            (source / f"{name}.txt").write_text(stems)
    scenes = loaded(formats.prepare("pictures", source, tmp_path / "out"))
    assert {split: [id[-1] for id in data.ids] for split, data in scenes.splits.items()} == {
        "train": ["0", "1"], "valid": ["2"], "test": ["3"],
    }  # fmt: skip
    assert {name: stream.kind for name, stream in scenes.streams.items()} == {"depth": "depth", "rgb": "color"}


def test_samples_without_a_label_or_a_split_are_named(tmp_path):
    source = tmp_path / "in"
    for name in "abcd":
        colours(source / "rgb" / f"{name}.png")
    for name in "abd":
        labels(source / "mask" / f"{name}.png")
    (source / "train.txt").write_text("a\nb\n")
    scenes = loaded(formats.prepare("pictures", source, tmp_path / "out"))
    assert {skip.id: skip.reason for skip in scenes.skips} == {
        "c": "there is no picture of it in mask", "d": "no list of a split names it",
    }  # fmt: skip


def test_a_second_folder_of_labels_gives_no_answer_away(tmp_path, caplog):
    source = tmp_path / "in"
    for i, split in enumerate(["train", "train", "val", "test"]):
        for stream, write in {"rgb": colours, "label": labels, "mask": labels}.items():
            write(source / split / stream / f"{i}.png")
    assert list(loaded(formats.prepare("pictures", source, tmp_path / "out")).streams) == ["rgb"]
    assert "mask is no stream, because of the name" in caplog.text
    options = {"task": "translate", "label": "rgb"}
    scenes = loaded(formats.prepare("pictures", source, tmp_path / "made", options), "translate")
    assert list(scenes.streams) == ["label", "mask"]


def test_folders_may_be_translated(tmp_path):
    source = tmp_path / "in"
    for i in range(6):
        colours(source / "normal" / f"{i}.png")
        colours(source / "rgb" / f"{i}.png")
    options = {"task": "translate", "label": "normal"}
    scenes = loaded(formats.prepare("pictures", source, tmp_path / "out", options), "translate")
    assert (scenes.target.kind, list(scenes.streams)) == ("normal", ["rgb"])


def test_two_pictures_of_one_name_are_an_error(tmp_path):
    colours(tmp_path / "in" / "rgb" / "a.png")
    np.save(tmp_path / "in" / "rgb" / "a.npy", np.zeros((6, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="are both the rgb of a; rename one"):
        formats.prepare("pictures", tmp_path / "in", tmp_path / "out")


def nyu(folder: Path, count: int = 6, *, mapping: bool = True) -> dict[str, np.ndarray]:
    """The published files, of pictures of 6 x 8: in HDF5 axes stand the other way round."""
    folder.mkdir()
    arrays = {
        "images": RANDOM.integers(0, 256, (count, 3, 8, 6), dtype=np.uint8),
        "depths": RANDOM.uniform(0.7, 9.9, (count, 8, 6)).astype(np.float32),
        "rawDepths": np.zeros((count, 8, 6), np.float32),
        "labels": RANDOM.integers(0, 895, (count, 8, 6)).astype(np.uint16),
    }
    arrays["labels"][:, 0, 0] = 0
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = values
    with (folder / "nyu_depth_v2_labeled.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    splits = {"trainNdxs": np.arange(1, count - 1)[:, None], "testNdxs": np.arange(count - 1, count + 1)[:, None]}
    scipy.io.savemat(folder / "splits.mat", splits)
    if mapping:
        scipy.io.savemat(folder / "classMapping40.mat", {"mapClass": 1 + np.arange(894)[None] % 40})
    return arrays


def test_nyuv2_is_written_as_pictures_of_40_classes(tmp_path):
    arrays = nyu(tmp_path / "in")
    manifest = formats.prepare("nyuv2", tmp_path / "in", tmp_path / "out")
    rows = read_table(manifest).rows
    assert [row["split"] for row in rows] == ["train"] * 4 + ["test"] * 2
    assert rows[2]["id"] == "0003"
    root = manifest.parent
    colour = read_picture(root / rows[2]["rgb"], Config().pixels.target).numpy()
    np.testing.assert_allclose(colour, arrays["images"][2].transpose(2, 1, 0) / 255, atol=1e-6)
    scenes = loaded(manifest)
    metres = read_picture(root / rows[2]["depth"], scenes.streams["depth"])[..., 0].numpy()
    np.testing.assert_allclose(metres, arrays["depths"][2].T, atol=0.00051)
    numbers = arrays["labels"][2].T.astype(int)
    expected = np.where(numbers == 0, 255, (numbers - 1) % 40)
    assert read_labels(root / rows[2]["label"]).numpy().tolist() == expected.tolist()
    assert scenes.classes == list(CLASSES)
    assert len(scenes.splits["test"]) == 2


def test_nyuv2_without_the_mapping_has_all_names_and_raw_depth_has_holes(tmp_path, caplog):
    arrays = nyu(tmp_path / "in", mapping=False)
    manifest = formats.prepare("nyuv2", tmp_path / "in", tmp_path / "out", {"depth": "raw"})
    assert "has no classMapping40.mat" in caplog.text
    row = read_table(manifest).rows[0]
    numbers = arrays["labels"][0].T.astype(int)
    expected = np.where(numbers == 0, 65535, numbers - 1)
    assert read_labels(manifest.parent / row["label"]).numpy().tolist() == expected.tolist()
    assert not read_picture(manifest.parent / row["depth"], Config().pixels.target).any()
    assert Config.load(manifest.with_name("segment.yaml")).pixels.ignore == 65535


def test_nyuv2_in_folders_is_renumbered_where_classes_begin_at_1(tmp_path, caplog):
    source = tmp_path / "in"
    truth = {}
    for i in range(5):
        colours(source / "RGB" / f"{i}.png")
        depths(source / "Depth" / f"{i}.png")
        truth[i] = labels(source / "Label" / f"{i}.png", 0, 41)
        labels(source / "masks" / f"{i}.png", 0, 40)  # no stream
    (source / "train.txt").write_text("".join(f"RGB/{i}.jpg Label/{i}.png\n" for i in range(4)))
    (source / "test.txt").write_text("RGB/4.jpg Label/4.png\n")
    manifest = formats.prepare("nyuv2", source, tmp_path / "out")
    assert "labels are 1 to 40, 0 for none" in caplog.text
    row = read_table(manifest).rows[1]
    expected = np.where(truth[1] == 0, 255, truth[1].astype(int) - 1)
    assert read_labels(manifest.parent / row["label"]).numpy().tolist() == expected.tolist()
    scenes = loaded(manifest)
    assert (scenes.outputs, list(scenes.streams)) == (40, ["depth", "rgb"])


def test_nyuv2_depth_of_8_bits_is_a_gray_picture(tmp_path, caplog):
    source = tmp_path / "in"
    for i in range(10):
        colours(source / "rgb" / f"{i}.png")
        labels(source / "depth" / f"{i}.png", 0, 256)
        labels(source / "masks" / f"{i}.png", 0, 40)
    scenes = loaded(formats.prepare("nyuv2", source, tmp_path / "out"))
    assert "was stretched and is no distance" in caplog.text
    assert scenes.streams["depth"].kind == "gray"
    assert scenes.outputs == 40


def sun(source: Path, count: int = 5) -> dict[str, np.ndarray]:
    """The published layout; the paths in the toolbox are those of the authors' machine."""
    remote = "/n/fs/sun3d/data/SUNRGBD"
    scenes = [f"kv1/NYUdata/NYU{i:04d}" if i % 2 else f"xtion/sun3ddata/room{i}/scan" for i in range(count)]
    millimetres = {}
    meta = np.zeros((1, count), dtype=[(name, object) for name in ("sequenceName", "groundtruth3DBB", "rgbpath")])
    metadata = source / "SUNRGBDtoolbox" / "Metadata"
    metadata.mkdir(parents=True)
    with h5py.File(metadata / "SUNRGBD2Dseg.mat", "w") as file:
        refs = file.create_dataset("SUNRGBD2Dseg/seglabel", (count, 1), dtype=h5py.ref_dtype)
        for i, scene in enumerate(scenes):
            colours(source / "SUNRGBD" / scene / "image" / f"{i}.png")
            values = RANDOM.integers(500, 8000, (6, 8), dtype=np.uint16)
            millimetres[scene] = values
            write_png(source / "SUNRGBD" / scene / "depth_bfx" / f"{i}_abs.png", (values << 3) | (values >> 13))
            meta[0, i] = (f"SUNRGBD/{scene}", np.array(["chair"], object), f"{remote}/{scene}/image/{i}.png")
            file[f"#refs#/{i}"] = RANDOM.integers(0, 38, (8, 6)).astype(np.uint8)
            refs[i, 0] = file[f"#refs#/{i}"].ref
    scipy.io.savemat(metadata / "SUNRGBDMeta.mat", {"SUNRGBDMeta": meta})
    (source / "SUNRGBDtoolbox" / "traintestSUNRGBD").mkdir()
    lists = {"alltrain": scenes[1:], "alltest": scenes[:1]}
    cells = {name: np.array([[f"{remote}/{scene}" for scene in part]], object) for name, part in lists.items()}
    scipy.io.savemat(source / "SUNRGBDtoolbox" / "traintestSUNRGBD" / "allsplit.mat", cells, do_compression=True)
    return millimetres


def test_sunrgbd_has_depth_in_millimetres_and_37_classes(tmp_path):
    millimetres = sun(tmp_path / "in")
    manifest = formats.prepare("sunrgbd", tmp_path / "in", tmp_path / "out")
    rows = {row["id"]: row for row in read_table(manifest).rows}
    assert [row["split"] for row in rows.values()] == ["test", *["train"] * 4]
    scenes = loaded(manifest)
    for scene, values in millimetres.items():
        row = rows[scene.replace("/", "_")]
        metres = read_picture(manifest.parent / row["depth"], scenes.streams["depth"])[..., 0]
        np.testing.assert_allclose(metres.numpy(), values * 0.001, rtol=1e-6)
        assert row["rgb"].startswith("../in/SUNRGBD/")
    with h5py.File(tmp_path / "in" / "SUNRGBDtoolbox" / "Metadata" / "SUNRGBD2Dseg.mat") as file:
        numbers = np.asarray(file["#refs#/1"]).T.astype(int)
    expected = np.where(numbers == 0, 255, numbers - 1)
    assert read_labels(manifest.parent / rows["kv1_NYUdata_NYU0001"]["label"]).numpy().tolist() == expected.tolist()
    assert scenes.outputs == 37


def test_a_sunrgbd_scene_without_a_file_is_named(tmp_path):
    sun(tmp_path / "in")
    folder = tmp_path / "in" / "SUNRGBD" / "kv1" / "NYUdata" / "NYU0001"
    next(iter((folder / "depth_bfx").iterdir())).unlink()
    depths(tmp_path / "in" / "SUNRGBD" / "kv1" / "NYUdata" / "NYU0003" / "depth_bfx" / "3_abs.png", 3, 4)
    scenes = loaded(formats.prepare("sunrgbd", tmp_path / "in", tmp_path / "out"))
    reasons = {skip.id: skip.reason for skip in scenes.skips}
    assert "has no depth_bfx/*.png" in reasons["kv1_NYUdata_NYU0001"]
    assert "expected 16, and the size of its labels, (6, 8)" in reasons["kv1_NYUdata_NYU0003"]


@pytest.mark.parametrize("place", ["{domain}/{building}", "{building}/{domain}"])
def test_taskonomy_has_a_column_per_domain_and_a_group_per_building(tmp_path, place):
    source = tmp_path / "in"
    for building in ("allensville", "beechwood", "corozal", "darden", "elmira"):
        for view in range(2):
            for domain in ("rgb", "depth_zbuffer", "normal", "edge_texture"):
                path = source / place.format(domain=domain, building=building)
                path = path / f"point_{view}_view_3_domain_{domain}.png"
                (colours if domain in ("rgb", "normal") else depths)(path)
    (source / place.format(domain="rgb", building="elmira") / "point_1_view_3_domain_rgb.png").unlink()
    manifest = formats.prepare("taskonomy", source, tmp_path / "out", {"domains": "depth_zbuffer,normal,edge_texture"})
    rows = read_table(manifest).rows
    assert (rows[0]["id"], rows[0]["group"]) == ("allensville/point_0_view_3", "allensville")
    scenes = loaded(manifest, "translate")
    assert [skip.id for skip in scenes.skips] == ["elmira/point_1_view_3"]
    kinds = {name: (stream.kind, stream.unit, stream.invalid) for name, stream in scenes.streams.items()}
    assert kinds == {
        "depth_zbuffer": ("depth", 1 / 512, 65535), "edge_texture": ("gray", 0, 0), "normal": ("normal", 0, 0),
    }  # fmt: skip
    assert (scenes.target.kind, scenes.outputs) == ("color", 3)
    groups = {split: {id.partition("/")[0] for id in data.ids} for split, data in scenes.splits.items()}
    assert not groups["train"] & groups["test"]


def test_taskonomy_is_split_as_its_list_says(tmp_path):
    source = tmp_path / "in"
    for building in ("a", "b", "c", "d"):
        for domain in ("rgb", "reshading"):
            colours(source / domain / building / f"point_0_view_0_domain_{domain}.png")
    (source / "train_val_test_tiny.csv").write_text("id,train,val,test\na,1,0,0\nb,0,1,0\nc,0,0,1\n")
    manifest = formats.prepare("taskonomy", source, tmp_path / "out")
    assert [(row["group"], row["split"]) for row in read_table(manifest).rows] == [
        ("a", "train"), ("b", "valid"), ("c", "test"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unknown domain 'rgbb'; did you mean 'rgb'"):
        formats.prepare("taskonomy", source, tmp_path / "out", {"target": "rgbb"})
