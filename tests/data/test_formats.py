import gzip
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from shared_data import shared, touch

from sparsefuse.data import formats
from sparsefuse.data.arrays import load, read_array
from sparsefuse.data.formats import av_digits, utd_mhad
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table
from sparsefuse.files.skipped import Unusable


def test_an_unknown_format_gets_the_nearest_name(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'utdmhad'; did you mean 'utd_mhad'"):
        formats.prepare("utdmhad", tmp_path, tmp_path)


def test_the_guide_has_a_line_for_each_and_all_of_one():
    lines = formats.guide().splitlines()
    assert [line.split()[0] for line in lines] == formats.formats()
    assert "  grid       GRID: clips of six-word sentences;" in formats.guide("no such")
    one = formats.guide("vggsound")
    assert "Layout: vggsound.csv (YouTube id, start second" in one
    assert one.endswith("--options.valid: float = 0.2\n  --options.seed: int = 0")


def test_every_recipe_says_its_layout_and_what_it_writes():
    for name in formats.formats():
        assert "Layout: " in formats.guide(name), name
        assert "\n\n" in formats.guide(name), name


def test_the_docs_have_a_section_for_every_recipe():
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) - {"rooms"} == set(formats.formats())


def test_an_archive_is_unpacked_first(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("set/dog/1.wav", "set/cat/1.wav"):
            archive.writestr(name, "x")
    for _ in range(2):
        manifest = read_manifest(formats.prepare("folders", tmp_path / "set.zip", tmp_path / "out"))
        assert [row.files["audio"] for row in manifest.rows] == ["unpacked/set/cat/1.wav", "unpacked/set/dog/1.wav"]
        assert all((manifest.root / row.files["audio"]).is_file() for row in manifest.rows)


def test_a_file_that_no_recipe_takes_is_named(tmp_path):
    touch(tmp_path, "labels.csv")
    with pytest.raises(ValueError, match=r"labels\.csv is a file; expected the unpacked data set or an archive of it"):
        formats.prepare("grid", tmp_path / "labels.csv", tmp_path / "out")
    with pytest.raises(ValueError, match=r"or a file \*\.pkl"):
        formats.prepare("mult", tmp_path / "labels.csv", tmp_path / "out")


@pytest.mark.parametrize("name", formats.formats())
def test_a_folder_that_is_not_the_data_set_says_what_is_missing(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="not found"):
        formats.prepare(name, tmp_path / "nowhere", tmp_path)
    with pytest.raises(FileNotFoundError, match="has no"):
        formats.prepare(name, tmp_path, tmp_path / "out")


def test_grid_keeps_all_six_targets(tmp_path):
    (tmp_path / "grid" / "clips").mkdir(parents=True)
    (tmp_path / "grid" / "clips" / "bbaf2n.mp4").write_bytes(b"x")
    words = "clip,command,color,preposition,letter,digit,adverb\nbbaf2n,bin,blue,at,f,two,now\n"
    (tmp_path / "grid" / "labels.csv").write_text(words)
    path = formats.prepare("grid", tmp_path / "grid", tmp_path / "out")
    manifest = read_manifest(path, label="digit")
    assert manifest.modalities == ("video",)
    assert manifest.rows[0].label == "two"
    assert (manifest.root / manifest.rows[0].files["video"]).read_bytes() == b"x"
    assert read_table(path).rows[0] | {"video": ""} == {
        "id": "bbaf2n",
        "video": "",
        "command": "bin",
        "color": "blue",
        "preposition": "at",
        "letter": "f",
        "digit": "two",
        "adverb": "now",
    }


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", ".x", "", "a\\b", "a b"])
@pytest.mark.parametrize(
    ("format", "header", "rest"),
    [
        ("utd_mhad", "key,action,subject", ",wave,1"),
        ("grid", "clip,command,color,preposition,letter,digit,adverb", ",bin,blue,at,f,two,now"),
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, format, header, rest, name):
    source = tmp_path / "source"
    (source / "clips").mkdir(parents=True)
    (source / "labels.csv").write_text(f"{header}\n{name}{rest}\n")
    with pytest.raises(ValueError, match=r"labels\.csv: '.*' names a file; expected letters"):
        formats.prepare(format, source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_labels_file_without_its_columns_is_named(tmp_path):
    (tmp_path / "clips").mkdir()
    (tmp_path / "labels.csv").write_text("clip,command,colour\na,b,c\n")
    with pytest.raises(ValueError, match="unknown column 'color'; did you mean 'colour'"):
        formats.prepare("grid", tmp_path, tmp_path / "out")


@pytest.fixture
def utd(tmp_path):
    io = pytest.importorskip("scipy.io")
    source = tmp_path / "utd"
    rng = np.random.default_rng(0)
    (source / "inertial").mkdir(parents=True)
    (source / "skeleton").mkdir()
    (source / "labels.csv").write_text("key,action_id,action,subject,trial\nk1,1,wave,4,1\nk2,2,clap,5,1\n")
    io.savemat(source / "inertial" / "k1_inertial.mat", {"d_iner": rng.normal(size=(9, 6))})
    (source / "inertial" / "k2_inertial.mat").write_bytes(b"broken")
    for key in ("k1", "k2"):
        io.savemat(source / "skeleton" / f"{key}_skeleton.mat", {"d_skel": rng.normal(size=(20, 3, 5))})
    depth = rng.integers(0, 4000, (4, 30, 40)).astype(np.uint16)
    np.savez_compressed(source / "depth30x40.npz", k1=depth, k2=depth)
    return source


def test_utd_mhad_goes_on_without_a_broken_file(utd, tmp_path):
    manifest = read_manifest(formats.prepare("utd_mhad", utd, tmp_path / "out"))
    assert manifest.modalities == ("depth", "inertial", "skeleton")
    one, two = manifest.rows
    assert (one.id, one.label, one.group) == ("k1", "wave", "4")
    assert sorted(two.files) == ["depth", "skeleton"]
    assert '"id": "k2", "modality": "inertial"' in (manifest.root / "skipped.jsonl").read_text()
    assert {name: read_array(ref, manifest.root).shape for name, ref in one.files.items()} == {
        "depth": (4, 400),
        "inertial": (9, 6),
        "skeleton": (5, 60),
    }


def test_utd_mhad_halves_the_inertial_sensor_for_four_streams(utd, tmp_path):
    whole = read_manifest(formats.prepare("utd_mhad", utd, tmp_path / "out"))
    four = read_manifest(whole.root / "four-streams.csv")
    assert four.modalities == ("accelerometer", "depth", "gyroscope", "skeleton")
    one, two = four.rows
    halves = [read_array(one.files[name], four.root) for name in ("accelerometer", "gyroscope")]
    assert np.array_equal(np.hstack(halves), read_array(whole.rows[0].files["inertial"], whole.root))
    assert [half.shape for half in halves] == [(9, 3), (9, 3)]
    assert sorted(two.files) == ["depth", "skeleton"]


def test_a_skeleton_is_relative_to_its_hip_and_size(utd):
    stored = load("skeleton/k1_skeleton.mat", utd)  # (20, 3, T)
    found = utd_mhad.skeleton(stored)
    away = [np.linalg.norm(stored[j, :, t] - stored[3, :, t]) for j in range(20) if j != 3 for t in range(5)]
    for t in range(5):
        for joint in range(20):
            for axis in range(3):
                expected = stored[joint, axis, t] - stored[3, axis, t]
                if joint == 3:
                    expected = stored[3, axis, t] - stored[3, axis, 0]
                assert found[t, 3 * joint + axis] == pytest.approx(expected / np.mean(away), abs=1e-6)
    moved = utd_mhad.skeleton(2 * stored + np.array([1.0, 2.0, 3.0])[:, None])
    np.testing.assert_allclose(moved, found, atol=1e-6)


def person(top, height, left, *, hand=None):
    """(7, 30, 40) mm: a flat person of `height` rows, half as wide, at 2.8 m; from frame 5 on a `hand` in mm before."""
    frames = np.zeros((7, 30, 40), np.uint16)
    frames[:, top : top + height, left : left + height // 2] = 2800
    if hand is not None:
        frames[5:, top : top + 2, left : left + 2] = 2800 - hand
    return frames


def test_depth_is_a_box_around_the_person():
    found = utd_mhad.depth(person(top=10, height=20, left=10)).reshape(7, 20, 20)
    # Each point is 1.3 rows or columns. The box begins 5 rows above the head, the person after 3.8 points.
    inside = np.zeros((20, 20), bool)
    inside[4:18, 7:14] = True
    np.testing.assert_allclose(found[:, inside], 1, atol=1e-5)
    outside = np.ones((20, 20), bool)
    outside[3:20, 5:15] = False
    assert (found[:, outside] == 0).all()


def test_depth_does_not_tell_where_a_person_stands_or_how_tall_it_is():
    here = utd_mhad.depth(person(top=10, height=16, left=6, hand=300))
    there = utd_mhad.depth(person(top=12, height=16, left=20, hand=300))
    np.testing.assert_allclose(here, there, atol=1e-5)
    small = utd_mhad.depth(person(top=12, height=8, left=20, hand=300))
    assert np.corrcoef(here[0], small[0])[0, 1] > 0.9


def test_depth_counts_from_the_middle_of_the_body_towards_the_camera():
    found = utd_mhad.depth(person(top=10, height=20, left=10, hand=300))
    assert found[:5].max() == pytest.approx(1)
    assert found[5:].max() == pytest.approx(1.3, abs=1e-3)


def test_depth_of_nobody_is_unusable():
    with pytest.raises(Unusable, match="shows nobody in its first 5 frames"):
        utd_mhad.depth(np.zeros((7, 30, 40), np.uint16))


def write_idx(path, values):
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(head + values.astype(np.uint8).tobytes()))


@pytest.fixture
def digits(tmp_path):
    source = tmp_path / "digits"
    (source / "fsdd_wav").mkdir(parents=True)
    images = np.arange(5)[:, None, None] * np.ones((5, 28, 28)) * 51
    write_idx(source / "some-images-idx3-ubyte.gz", images)
    write_idx(source / "some-labels-idx1-ubyte.gz", np.array([7, 3, 7, 3, 3]))
    for name in ("7_ann_0", "7_ann_1", "7_bob_0", "3_bob_0", "noise"):
        (source / "fsdd_wav" / f"{name}.wav").write_bytes(b"RIFF")
    return source


def test_each_take_gets_an_own_image_of_its_digit(digits, tmp_path, caplog):
    path = formats.prepare("av_digits", digits, tmp_path / "out")
    manifest = read_manifest(path)
    assert manifest.modalities == ("audio", "image")
    pixel = {row.id: read_array(row.files["image"], manifest.root)[0, 0] for row in manifest.rows}
    assert pixel == pytest.approx({"3_bob_0": 0.2, "7_ann_0": 0.0, "7_ann_1": 0.4})  # images 1, 0, 2 of 51 each
    assert [row.label for row in manifest.rows] == ["3", "7", "7"]
    assert (manifest.root / manifest.rows[0].files["audio"]).is_file()
    assert [row["speaker"] for row in read_table(path).rows] == ["bob", "ann", "ann"]
    assert "7_bob_0.wav is left out: no image is left" in caplog.text
    assert "noise.wav is left out" in caplog.text


def test_a_truncated_idx_file_is_named(digits, tmp_path):
    path = digits / "some-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"some-images.*truncated"):
        formats.prepare("av_digits", digits, tmp_path / "out")
    write_idx(path, np.zeros((4, 28, 28)))
    with pytest.raises(ValueError, match=r"4 images.*5 labels"):
        av_digits.prepare(digits, tmp_path / "out")


def test_the_real_grid_is_complete(tmp_path):
    manifest = read_manifest(formats.prepare("grid", shared("grid"), tmp_path), label="color")
    assert len(manifest.rows) == 700
    assert {row.label for row in manifest.rows} == {"blue", "green", "red", "white"}
    assert all((manifest.root / row.files["video"]).is_file() for row in manifest.rows)


@pytest.mark.slow
def test_the_real_utd_mhad_is_complete(tmp_path):
    manifest = read_manifest(formats.prepare("utd_mhad", shared("utd_mhad"), tmp_path))
    assert len(manifest.rows) == 646
    assert all(len(row.files) == 3 for row in manifest.rows)
    assert {row.group for row in manifest.rows} == set("123456")
    body = read_array("skeleton/a1_s1_t1.npy", tmp_path)
    assert np.abs(body).max() < 3  # metres from the hip


def test_the_real_digits_are_complete(tmp_path):
    manifest = read_manifest(formats.prepare("av_digits", shared("av_digits"), tmp_path))
    assert len(manifest.rows) == 1500
    image = read_array(manifest.rows[0].files["image"], tmp_path)
    assert image.shape == (28, 28)
    assert image.max() == 1
