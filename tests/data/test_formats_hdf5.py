"""HDF5: the SFT authors' files and computational sequences."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from shared_data import shared, touch

from sparsefuse.data import formats
from sparsefuse.data.arrays import read_array
from sparsefuse.data.labels import Labels
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table

h5py = pytest.importorskip("h5py")

CLASSES = ["rain", "airplane", "baby crying"]


def sft_file(path, count, **change):
    rng = np.random.default_rng(count)
    arrays = {
        "rgb": rng.normal(size=(count, 4, 3)),
        "flow": rng.normal(size=(count, 4, 3)),
        "spect": rng.normal(size=(count, 12, 2)),
        "labels": np.arange(count) % 3,
        "class_name": [CLASSES[i % 3].encode() for i in range(count)],
    } | change
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values
    return arrays


def test_the_sft_files_are_read_where_they_are(tmp_path):
    source = tmp_path / "in"
    arrays = sft_file(source / "vgg_train.h5py", 10)
    sft_file(source / "vgg_test.h5py", 3)
    manifest = read_manifest(formats.prepare("sft_hdf5", source, tmp_path / "out"))
    assert manifest.modalities == ("flow", "rgb", "spect")
    assert Counter(row.split for row in manifest.rows) == {"train": 8, "valid": 2, "test": 3}
    assert not list((tmp_path / "out").glob("**/*.safetensors"))
    for i, row in enumerate(manifest.rows[:10]):
        for name, ref in row.files.items():
            np.testing.assert_array_equal(read_array(ref, manifest.root), arrays[name][i].astype(np.float32))
        assert row.label == CLASSES[i % 3]
    order = np.random.RandomState(1111).permutation(10).tolist()
    assert {row.id for row in manifest.rows if row.split == "valid"} == {f"train-{i:05d}" for i in order[8:]}
    classes = Labels.from_rows([row.label for row in manifest.rows]).classes
    assert list(classes) == sorted(CLASSES)  # a class's number is its rank


def test_of_two_pairs_one_must_be_chosen(tmp_path):
    for stem, count in (("vgg", 5), ("vgg100", 6)):
        sft_file(tmp_path / f"{stem}_train.h5", count)
        sft_file(tmp_path / f"{stem}_test.h5", count)
    with pytest.raises(ValueError, match="has the files of vggs10 and vggs100; set the option subset"):
        formats.prepare("sft_hdf5", tmp_path, tmp_path / "out")
    path = formats.prepare("sft_hdf5", tmp_path, tmp_path / "out", {"subset": "vggs100"})
    assert len(read_table(path).rows) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spect": None, "spec": np.zeros((5, 2, 2))}, r"vgg_train\.h5py: unknown array 'spect'; did you mean 'spec'"),
        ({"rgb": np.zeros((5, 4))}, r"rgb has shape \(5, 4\), expected \(5, tokens, features\)"),
        ({"flow": np.zeros((4, 4, 3))}, r"flow has shape \(4, 4, 3\), expected \(5, tokens, features\)"),
    ],
)
def test_sft_files_of_another_layout_are_named(tmp_path, change, message):
    sft_file(tmp_path / "vgg_train.h5py", 5, **change)
    sft_file(tmp_path / "vgg_test.h5py", 5)
    with pytest.raises(ValueError, match=message):
        formats.prepare("sft_hdf5", tmp_path, tmp_path / "out")


def test_a_file_that_is_no_hdf5_is_named(tmp_path):
    (tmp_path / "vgg_train.h5py").write_bytes(b"hello")
    sft_file(tmp_path / "vgg_test.h5py", 5)
    with pytest.raises(ValueError, match=r"vgg_train\.h5py: "):
        formats.prepare("sft_hdf5", tmp_path, tmp_path / "out")


def sequence(path, root, videos, names=None):
    """A .csd by hand: video -> (features, intervals)."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for video, (features, intervals) in videos.items():
            file[f"{root}/data/{video}/features"] = np.asarray(features, np.float32)
            file[f"{root}/data/{video}/intervals"] = np.asarray(intervals, np.float32)
        if names:
            file[f"{root}/metadata/dimension names"] = [json.dumps(names).encode()]


@pytest.fixture
def sdk(tmp_path):
    source = tmp_path / "in"
    names = ["sentiment", "happy joy"]
    labels = {"v1": ([[2.4, 1], [-0.5, 0]], [[0, 2], [2, 4]]), "v2": ([[1, 0]], [[0, 1]])}
    sequence(source / "SET_Labels.csd", "All Labels", labels, names)
    words = [[0.2, 0.6], [0.6, 1.9], [1.9, 2.2], [2.5, 3], [3.9, 4.1], [5, 6]]  # the third begins before its middle
    sequence(source / "SET_words.csd", "glove_vectors", {"v1": ([[i, 1] for i in range(6)], words)})
    frames = [[t / 2, t / 2 + 0.5] for t in range(8)]
    covarep = [[t + 1.0, 2] for t in range(8)]
    covarep[1][0] = -np.inf
    two = ([[1, 1], [2, 2]], [[0, 0.5], [0.5, 1]])
    sequence(source / "SET_COVAREP.csd", "COVAREP", {"v1": (covarep, frames), "v2": two})
    return source


def test_sequences_are_cut_to_the_labelled_segments(sdk, tmp_path):
    path = formats.prepare("csd", sdk, tmp_path / "out")
    manifest = read_manifest(path)
    assert manifest.modalities == ("COVAREP", "glove_vectors")
    found = {
        row.id: {n: read_array(ref, path.parent).tolist() for n, ref in row.files.items()} for row in manifest.rows
    }
    assert found == {
        "v1_0": {"glove_vectors": [[0, 1], [1, 1]], "COVAREP": [[1, 2], [0, 2], [3, 2], [4, 2]]},
        "v1_1": {"glove_vectors": [[2, 1], [3, 1]], "COVAREP": [[5, 2], [6, 2], [7, 2], [8, 2]]},
        "v2_0": {"COVAREP": [[1, 1], [2, 2]]},
    }
    cells = read_table(path).rows
    assert [(r["label"], r["sentiment"], r["happy_joy"], r["group"], r["start"], r["end"]) for r in cells[:2]] == [
        ("2", "2.4", "1", "v1", "0.000", "2.000"),
        ("0", "-0.5", "0", "v1", "2.000", "4.000"),
    ]
    assert (
        '"v2_0", "modality": "glove_vectors", "reason": "glove_vectors does not have the video"'
        in (tmp_path / "out" / "skipped.jsonl").read_text()
    )


def test_videos_beside_the_labels_are_enough(tmp_path):
    sequence(tmp_path / "in" / "labels.csd", "L", {"v1": ([[1.0]], [[0, 2]]), "v2": ([[2.0]], [[0, 2]])})
    touch(tmp_path / "in" / "video", "v1.mp4")
    path = formats.prepare("csd", tmp_path / "in", tmp_path / "out")
    assert [(row.id, row.files) for row in read_manifest(path).rows] == [("v1_0", {"video": "../in/video/v1.mp4"})]


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ({"v1": ([[1, 2]], [[0, 1], [1, 2]])}, r"features \(1, 2\) float32 and intervals \(2, 2\)"),
        ({"v1": ([[1, 2]], [[2, 1]])}, "v1: an interval ends before it begins"),
    ],
)
def test_a_video_of_another_shape_costs_its_stream_or_its_labels_all(sdk, tmp_path, videos, message):
    sequence(sdk / "SET_words.csd", "glove_vectors", videos)
    assert [row["glove_vectors"] for row in read_table(formats.prepare("csd", sdk, tmp_path / "out")).rows] == [""] * 3
    reason = json.loads((tmp_path / "out" / "skipped.jsonl").read_text().splitlines()[0])["reason"]
    assert re.search(message, reason)
    sequence(sdk / "SET_Labels.csd", "All Labels", videos)
    with pytest.raises(ValueError, match=message):
        formats.prepare("csd", sdk, tmp_path / "out")


def test_other_files_are_named(sdk, tmp_path):
    (sdk / "SET_words.csd").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"SET_words\.csd: cannot be read, truncated or not HDF5"):
        formats.prepare("csd", sdk, tmp_path / "out")
    with h5py.File(sdk / "SET_words.csd", "w") as file:
        file["x"] = [1]
    with pytest.raises(ValueError, match=r"SET_words\.csd: holds x; expected <root>/data/<video>/features"):
        formats.prepare("csd", sdk, tmp_path / "out")


def test_the_labels_must_be_one_file(sdk, tmp_path):
    sequence(sdk / "more_labels.csd", "M", {"v2": ([[3, 0]], [[0, 1]])})
    with pytest.raises(ValueError, match="2 files have 'label' in their names"):
        formats.prepare("csd", sdk, tmp_path / "out")
    with pytest.raises(ValueError, match=r"unknown file 'labels\.csd'; did you mean"):
        formats.prepare("csd", sdk, tmp_path / "out", {"labels": "labels.csd"})
    path = formats.prepare("csd", sdk, tmp_path / "out", {"labels": "more_labels.csd"})
    assert [row["label"] for row in read_table(path).rows] == ["3"]


@pytest.mark.slow
def test_the_real_labels_cut_a_sequence(tmp_path):
    real = shared("mosi_labels") / "CMU_MOSI_Opinion_Labels.csd"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / real.name).symlink_to(real)
    with pytest.raises(FileNotFoundError, match=r"has no \.csd of features and no <video>\.mp4"):
        formats.prepare("csd", tmp_path / "in", tmp_path / "out")
    with h5py.File(real) as file:
        videos = list(file["Opinion Segment Labels/data"])
    seconds = np.arange(600)
    stream = (np.stack([seconds + 0.5, seconds * 0 + 1], 1), np.stack([seconds, seconds + 1], 1))
    sequence(tmp_path / "in" / "clock.csd", "clock", dict.fromkeys(videos, stream))
    path = formats.prepare("csd", tmp_path / "in", tmp_path / "out")
    cells = {row["id"]: row for row in read_table(path).rows}
    skipped = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert len(cells) + len(skipped) == 2199
    first = cells["03bSnISJMiM_0"]
    assert (first["sentiment"], first["start"], first["end"]) == ("2.4", "51.905", "55.945")
    assert read_array(first["clock"], path.parent)[:, 0].tolist() == [52.5, 53.5, 54.5, 55.5]
