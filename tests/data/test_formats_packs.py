"""MulT's and MMSA's pickles: padding is cut, what cannot be used is named, and both train."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import tiny
from sparsefuse.data import formats
from sparsefuse.data.arrays import read_array
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table
from sparsefuse.training.train import train

WIDTHS = {"text": 4, "audio": 3, "vision": 2}
LONGEST = {"text": 5, "audio": 9, "vision": 8}


def streams(count, *, longest=LONGEST, left, seed=0):
    """name -> (count, tokens, features) padded with zeros, and the streams without padding, as lists."""
    rng = np.random.default_rng(seed)
    packed = {name: np.zeros((count, longest[name], width), np.float32) for name, width in WIDTHS.items()}
    bare = []
    for i in range(count):
        bare.append({})
        for name, width in WIDTHS.items():
            length = int(rng.integers(2, longest[name] + 1))
            values = rng.normal(size=(length, width)).astype(np.float32)
            bare[-1][name] = values
            if left:
                packed[name][i, longest[name] - length :] = values
            else:
                packed[name][i, :length] = values
    return packed, bare


def mult_pack(counts=(4, 2, 2)):
    """As MulT's mosei_senti_data_noalign.pkl."""
    pack, bare = {}, {}
    numbers = [-3.0, -0.5, 0.5, 2.6666667, 1.0, 0.0, -1.5, 3.0]
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        pack[split], bare[split] = streams(count, left=True, seed=count)
        pack[split]["labels"] = np.array(numbers[:count]).reshape(count, 1, 1)
        pack[split]["id"] = np.array([[f"{split}v{i}", f"{i}.5", f"{i + 1}.5"] for i in range(count)])
    return pack, bare


def dump(folder, pack, protocol=4):
    folder.mkdir(exist_ok=True)
    (folder / "pack.pkl").write_bytes(pickle.dumps(pack, protocol))
    return folder / "pack.pkl"


def table(path):
    return {row["id"]: row for row in read_table(path).rows}


@pytest.mark.parametrize("protocol", [2, 4])
def test_mult_loses_its_padding_on_the_left(tmp_path, protocol):
    pack, bare = mult_pack()
    path = formats.prepare("mult", dump(tmp_path / "in", pack, protocol), tmp_path / "out")
    manifest = read_manifest(path)
    assert manifest.modalities == ("audio", "text", "vision")
    assert [row.id for row in manifest.rows[:2]] == ["trainv0_0.5_1.5", "trainv1_1.5_2.5"]
    assert [row.split for row in manifest.rows] == ["train"] * 4 + ["valid"] * 2 + ["test"] * 2
    assert manifest.rows[1].group == "trainv1"
    for row, expected in zip(manifest.rows, [*bare["train"], *bare["valid"], *bare["test"]], strict=True):
        for name, values in expected.items():
            np.testing.assert_array_equal(read_array(row.files[name], manifest.root), values)
    assert [row.label for row in manifest.rows[:4]] == ["-3", "0", "0", "3"]  # halves to the even number
    assert [row["sentiment"] for row in read_table(path).rows[:4]] == ["-3", "-0.5", "0.5", "2.66667"]
    assert sorted(p.name for p in (tmp_path / "out" / "features").iterdir()) == [
        f"{name}-00000.safetensors" for name in ("audio", "text", "vision")
    ]
    assert (tmp_path / "out" / "skipped.jsonl").read_text() == ""


def test_aligned_streams_lose_the_same_tokens(tmp_path):
    pack = {"train": streams(2, longest=dict.fromkeys(WIDTHS, 6), left=True)[0]}
    pack["train"]["labels"] = np.array([1.5, -1.5]).reshape(2, 1, 1)
    for values, first in zip((pack["train"][name] for name in WIDTHS), (2, 3, 4), strict=True):
        values[0, first:] = 1
        values[0, :first] = 0
    manifest = read_manifest(formats.prepare("mult", dump(tmp_path, pack), tmp_path / "out"))
    found = {name: read_array(ref, manifest.root) for name, ref in manifest.rows[0].files.items()}
    assert {name: len(values) for name, values in found.items()} == {"text": 4, "audio": 4, "vision": 4}
    assert found["vision"].any(1).tolist() == [False, False, True, True]
    assert manifest.rows[0].id == "train-00000"


def test_infinite_audio_and_empty_streams(tmp_path):
    pack, bare = mult_pack((4, 2, 2))
    train = pack["train"]
    train["audio"][0, -1, 0] = -np.inf
    train["vision"][1] = 0
    train["text"][2, -1, 0] = np.nan
    for name in WIDTHS:
        train[name][3] = 0
    path = formats.prepare("mult", dump(tmp_path, pack), tmp_path / "out")
    rows = read_manifest(path).rows
    assert [row.split for row in rows].count("train") == 3
    expected = bare["train"][0]["audio"].copy()
    expected[-1, 0] = 0
    np.testing.assert_array_equal(read_array(rows[0].files["audio"], path.parent), expected)
    assert sorted(rows[1].files) == ["audio", "text"]
    assert sorted(rows[2].files) == ["audio", "vision"]
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(skip["id"], skip["modality"]) for skip in skipped] == [
        ("trainv1_1.5_2.5", "vision"),
        ("trainv2_2.5_3.5", "text"),
        ("trainv3_3.5_4.5", ""),
    ]
    assert "train, clip 1: vision holds nothing but zeros" in skipped[0]["reason"]
    assert "text holds 1 values that are NaN or infinite" in skipped[1]["reason"]


def test_iemocap_has_several_labels_and_two_classes_are_words(tmp_path):
    pack, _ = mult_pack((2, 1, 1))
    hot = np.zeros((2, 4, 2))
    hot[0, [0, 1, 2, 3], [0, 1, 1, 0]] = 1
    hot[1, [0, 1, 2, 3], [1, 0, 0, 0]] = 1
    pack["train"]["labels"] = hot
    pack["valid"]["labels"] = pack["test"]["labels"] = hot[:1]
    rows = read_table(formats.prepare("mult", dump(tmp_path, pack), tmp_path / "out")).rows
    assert [row["label"] for row in rows[:2]] == ["happy|sad", "neutral"]
    assert [rows[0][name] for name in ("neutral", "happy", "sad", "angry")] == ["0", "1", "1", "0"]

    for part in pack.values():
        part["labels"] = np.arange(len(part["labels"])).reshape(-1, 1) % 2
    rows = read_table(formats.prepare("mult", dump(tmp_path, pack), tmp_path / "two")).rows
    assert [row["label"] for row in rows[:2]] == ["0", "1"]
    assert "sentiment" not in rows[0]


def test_clips_without_text_can_be_left_out_as_multibench_does(tmp_path):
    pack, _ = mult_pack()
    pack["train"]["text"][1] = 0
    source = dump(tmp_path, pack)
    assert "trainv1_1.5_2.5" in table(formats.prepare("mult", source, tmp_path / "keep"))
    left = table(formats.prepare("mult", source, tmp_path / "drop", {"need_text": True}))
    assert "trainv1_1.5_2.5" not in left
    assert len(left) == 7


def test_ids_of_python_2_and_ids_that_are_there_twice(tmp_path):
    pack, _ = mult_pack((4, 2, 2))
    pack["train"]["id"] = np.array([b"v_1", b"v_1", b"v_2", b"v_3"])
    del pack["valid"]["id"]
    ids = [row.id for row in read_manifest(formats.prepare("mult", dump(tmp_path, pack), tmp_path / "out")).rows]
    assert ids[:6] == ["v_1", "train-00001-v_1", "v_2", "v_3", "valid-00000", "valid-00001"]


def mmsa_pack(counts=(4, 2, 2), longest=LONGEST):
    """As MMSA's unaligned_50.pkl."""
    pack, bare = {}, {}
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        pack[split], bare[split] = streams(count, longest=longest, left=False, seed=10 + count)
        part, lengths = pack[split], {name: [len(clip[name]) for clip in bare[split]] for name in WIDTHS}
        bert = np.zeros((count, 3, longest["text"]), np.float32)
        for i, length in enumerate(lengths["text"]):
            bert[i, 1, :length] = 1
        part["text_bert"] = bert
        part["audio_lengths"], part["vision_lengths"] = lengths["audio"], lengths["vision"]
        part["id"] = [f"{split}v{i // 2}$_${i}" for i in range(count)]
        part["raw_text"] = ["words é"] * count
        part["annotations"] = [["Negative", "Neutral", "Positive"][i % 3] for i in range(count)]
        part["regression_labels"] = np.array([-1.8, 0.0, 2.4, 1.0][:count], np.float32)
        part["classification_labels"] = np.arange(count) % 3
    return pack, bare


def test_mmsa_is_cut_to_its_lengths(tmp_path):
    pack, bare = mmsa_pack()
    pack["train"]["audio"][0, len(bare["train"][0]["audio"]) - 1] = 0  # a real token that says nothing
    bare["train"][0]["audio"][-1] = 0
    path = formats.prepare("mmsa", dump(tmp_path, pack), tmp_path / "out")
    manifest = read_manifest(path)
    for row, expected in zip(manifest.rows, [*bare["train"], *bare["valid"], *bare["test"]], strict=True):
        for name, values in expected.items():
            np.testing.assert_array_equal(read_array(row.files[name], manifest.root), values)
    assert [(row.id, row.label, row.group) for row in manifest.rows[1:3]] == [
        ("trainv0$_$1", "Neutral", "trainv0"),
        ("trainv1$_$2", "Positive", "trainv1"),
    ]
    cells = read_table(path).rows
    assert [(row["sentiment"], row["class7"]) for row in cells[:3]] == [("-1.8", "-2"), ("0", "0"), ("2.4", "2")]


def test_mmsa_without_lengths_is_cut_where_zeros_begin(tmp_path):
    pack, bare = mmsa_pack()
    for part in pack.values():
        for key in ("text_bert", "audio_lengths", "vision_lengths", "annotations", "id"):
            del part[key]
    manifest = read_manifest(formats.prepare("mmsa", dump(tmp_path, pack), tmp_path / "out"))
    for row, expected in zip(manifest.rows, [*bare["train"], *bare["valid"], *bare["test"]], strict=True):
        assert {name: len(read_array(ref, manifest.root)) for name, ref in row.files.items()} == {
            name: len(values) for name, values in expected.items()
        }
    assert manifest.rows[0].label == "-1.8"


def test_aligned_mmsa_is_as_long_as_its_text(tmp_path):
    pack, bare = mmsa_pack(longest=dict.fromkeys(WIDTHS, 6))
    for part in pack.values():
        part["vision"][:, 0] = 0.5  # at least one token of each is there
    manifest = read_manifest(formats.prepare("mmsa", dump(tmp_path, pack), tmp_path / "out"))
    for row, clip in zip(manifest.rows, [*bare["train"], *bare["valid"], *bare["test"]], strict=True):
        for ref in row.files.values():
            assert len(read_array(ref, manifest.root)) == len(clip["text"])


def test_sims_keeps_a_number_for_each_modality(tmp_path):
    pack, _ = mmsa_pack()
    for part in pack.values():
        part["regression_labels"] = part["regression_labels"] / 3
        for i, key in enumerate("TAV"):
            part[f"regression_labels_{key}"] = part["regression_labels"] + i
    row = read_table(formats.prepare("mmsa", dump(tmp_path, pack), tmp_path / "out")).rows[0]
    assert [row[f"sentiment{more}"] for more in ("", "_text", "_audio", "_vision")] == ["-0.6", "-0.6", "0.4", "1.4"]
    assert "class7" not in row


def test_a_length_that_cannot_be_costs_one_stream(tmp_path):
    pack, _ = mmsa_pack()
    pack["train"]["audio_lengths"][1] = 10
    pack["train"]["vision_lengths"][2] = 0
    path = formats.prepare("mmsa", dump(tmp_path, pack), tmp_path / "out")
    assert [sorted(row.files) for row in read_manifest(path).rows[1:3]] == [["text", "vision"], ["audio", "text"]]
    assert "audio has length 10, but 9 tokens are stored" in (tmp_path / "out" / "skipped.jsonl").read_text()


def without(key):
    return lambda part: part.pop(key)


def shaped(key, *shape):
    return lambda part: part.update({key: np.zeros(shape)})


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("mult", without("labels"), r"train: unknown key 'labels'"),
        ("mult", shaped("labels", 4, 3), r"train: labels has shape \(4, 3\), expected \(4,\)"),
        ("mult", shaped("labels", 3, 1, 1), r"train: labels has shape \(3, 1, 1\), expected \(4,\)"),
        ("mult", lambda part: part.update(labels=["a"] * 4), "labels holds <U1 values, expected numbers"),
        ("mult", shaped("text", 4, 5), r"text is \(4, 5\) float64, expected numbers of shape \(clips, tokens, feat"),
        ("mult", lambda part: part.update(text=[1, 2]), r"text is list, expected numbers of shape"),
        ("mult", shaped("text", 3, 5, 4), "modalities have other numbers of clips"),
        ("mult", shaped("text", 4, 5, 5), "splits have other modalities or features"),
        ("mult", shaped("regression_labels", 4), "the layout of `sparsefuse prepare mmsa`"),
        ("mult", lambda part: [part.pop(name) for name in WIDTHS], "unknown key 'audio'"),
        ("mmsa", without("regression_labels"), "unknown key 'regression_labels'"),
        ("mmsa", shaped("labels", 4, 1, 1), "the layout of `sparsefuse prepare mult`"),
        ("mmsa", shaped("text_bert", 4, 50), r"text_bert has shape \(4, 50\), expected \(4, 3, 5\)"),
        ("mmsa", lambda part: part.update(annotations=["a"]), "1 annotations for 4 clips"),
    ],
)
def test_another_layout_is_named(tmp_path, recipe, change, message):
    pack, _ = mult_pack() if recipe == "mult" else mmsa_pack()
    change(pack["train"])
    with pytest.raises(ValueError, match=message):
        formats.prepare(recipe, dump(tmp_path, pack), tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("pack", "message"),
    [([1, 2], "holds a list, expected a dictionary"), ({"Train": {}}, "unknown split 'train'; did you mean 'Train'")],
)
def test_a_pickle_without_splits_is_named(tmp_path, pack, message):
    with pytest.raises(ValueError, match=message):
        formats.prepare("mult", dump(tmp_path, pack), tmp_path / "out")


def test_of_two_pickles_one_must_be_named(tmp_path):
    path = dump(tmp_path, mult_pack()[0])
    (tmp_path / "second.pkl").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"has pack\.pkl, second\.pkl; name one of the files"):
        formats.prepare("mult", tmp_path, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "mult"])
@pytest.mark.parametrize(("recipe", "label"), [("mult", "label"), ("mmsa", "sentiment")])
def test_a_pickle_trains_end_to_end(tmp_path, recipe, label, method):
    pack, _ = mult_pack((8, 4, 4)) if recipe == "mult" else mmsa_pack((4, 4, 4))
    manifest = formats.prepare(recipe, dump(tmp_path, pack), tmp_path / "out")
    config = tiny.with_data(tiny.config(manifest, method), label=label, leaks="warn")  # made-up words come twice
    train(config, tmp_path / "run", root=Path(), measured=False)
    found = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert np.isfinite(found["top1" if label == "label" else "mae"])
