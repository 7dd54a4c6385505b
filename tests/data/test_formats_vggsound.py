"""VGGSound's lists, and its ten and hundred classes."""

import csv
import json
from collections import Counter

import pytest
from shared_data import shared, touch

from sparsefuse.data import formats
from sparsefuse.data.formats import vggsound
from sparsefuse.data.formats.vggsound import VGGS10
from sparsefuse.data.manifest import read_manifest
from sparsefuse.files.rows import read_table


def write_list(folder, rows, name="vggsound.csv"):
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def made(folder, classes, train=10, test=2):
    """A list with a file per clip; ids begin with - as real ones do."""
    rows = []
    for c, label in enumerate(classes):
        for i in range(train + test):
            rows.append([f"-{c:03d}_{i}", i, label, "train" if i < train else "test"])
    write_list(folder, rows)
    touch(folder / "video", *(f"{video}_{start:06d}.mp4" for video, start, _, _ in rows))
    return rows


def test_every_class_gives_a_fifth_of_train_to_valid(tmp_path):
    made(tmp_path / "in", ["dog, barking", "rain"])
    manifest = read_manifest(formats.prepare("vggsound", tmp_path / "in", tmp_path / "out"))
    assert Counter((row.label, row.split) for row in manifest.rows) == {
        (label, split): count
        for label in ("dog, barking", "rain")
        for split, count in (("train", 8), ("valid", 2), ("test", 2))
    }
    row = manifest.rows[3]
    assert (row.id, row.group) == ("-000_3_000003", "-000_3")
    assert (manifest.root / row.files["video"]).resolve() == (tmp_path / "in" / "video" / "-000_3_000003.mp4").resolve()
    assert "start" not in read_table(manifest.path).columns


def splits(path):
    return {row.id: row.split for row in read_manifest(path).rows}


def test_the_draw_is_that_of_its_seed_whatever_files_are_there(tmp_path):
    rows = made(tmp_path / "in", ["dog", "rain"])
    first = splits(formats.prepare("vggsound", tmp_path / "in", tmp_path / "a"))
    assert splits(formats.prepare("vggsound", tmp_path / "in", tmp_path / "b", {"seed": 1})) != first
    assert "valid" not in splits(formats.prepare("vggsound", tmp_path / "in", tmp_path / "c", {"valid": 0})).values()
    for video, start, _, _ in rows[::3]:
        (tmp_path / "in" / "video" / f"{video}_{start:06d}.mp4").unlink()
    rest = splits(formats.prepare("vggsound", tmp_path / "in", tmp_path / "d"))
    assert 0 < len(rest) < len(first)
    assert rest == {id: first[id] for id in rest}


def test_clips_of_one_video_stay_together(tmp_path):
    rows = [[f"v{i}", start, label, "train"] for i in range(10) for start, label in ((0, "dog"), (30, "rain"))]
    write_list(tmp_path / "in", rows)
    touch(tmp_path / "in", *(f"{video}_{start:06d}.mp4" for video, start, _, _ in rows))
    found = {}
    for row in read_manifest(formats.prepare("vggsound", tmp_path / "in", tmp_path / "out")).rows:
        found.setdefault(row.group, set()).add(row.split)
    assert all(len(each) == 1 for each in found.values())
    assert sum(each == {"valid"} for each in found.values()) == 2


def test_a_second_class_of_a_video_does_not_change_the_share_of_the_first():
    dog = [vggsound._Entry(f"v{i}", 0, "dog", "train") for i in range(20)]
    rain = [vggsound._Entry(f"v{i}", 30, "rain", "train") for i in range(10, 30)]
    for seed in range(5):
        held = vggsound._held_out([*dog, *rain], 0.2, seed)
        assert sum(line.video in held for line in dog) == sum(line.video in held for line in rain) == 4


def test_missing_files_are_counted_and_named(tmp_path, caplog):
    made(tmp_path / "in", ["dog", "rain"])
    (tmp_path / "in" / "video" / "-000_0_000000.mp4").unlink()
    (tmp_path / "in" / "video" / "-001_1_000001.mp4").unlink()
    assert len(splits(formats.prepare("vggsound", tmp_path / "in", tmp_path / "out"))) == 22
    assert "2 of 24 clips have no file" in caplog.text
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [skip["id"] for skip in skipped] == ["-000_0_000000", "-001_1_000001"]
    assert skipped[0]["reason"] == "no file -000_0_000000.mp4, -000_0_0_10000.mp4 or -000_0.mp4"


def test_all_three_ways_to_name_a_file(tmp_path):
    write_list(tmp_path / "in", [["a", 5, "dog", "train"], ["b", 7, "rain", "train"], ["c", 0, "rain", "test"]])
    touch(tmp_path / "in", "x/a_000005.webm", "b.mp4", "c_0_10000.mp4", "c_0_10000.wav")
    rows = read_table(formats.prepare("vggsound", tmp_path / "in", tmp_path / "out")).rows
    assert [(row["start"], row["end"]) for row in rows] == [("", ""), ("7", "17"), ("", "")]
    assert [row["audio"] for row in rows] == ["", "", "../in/c_0_10000.wav"]


def test_the_papers_ten_classes_and_ninety_drawn_ones(tmp_path):
    classes = [f"class {i:03d}" for i in range(299)] + list(VGGS10)
    made(tmp_path / "in", classes, train=1, test=1)

    def labels(subset, seed):
        path = formats.prepare("vggsound", tmp_path / "in", tmp_path / "out", {"subset": subset, "seed": seed})
        return {row.label for row in read_manifest(path).rows}

    assert labels("vggs10", 0) == set(VGGS10)
    hundred = labels("vggs100", 0)
    assert len(hundred) == 100
    assert hundred > set(VGGS10)
    assert labels("vggs100", 0) == hundred != labels("vggs100", 1)


def test_counts_are_held_against_stat_csv(tmp_path, caplog):
    made(tmp_path / "in", ["dog", "rain"])
    (tmp_path / "in" / "stat.csv").write_text("dog,12,animals\nrain,12,nature\n")
    formats.prepare("vggsound", tmp_path / "in", tmp_path / "out")
    assert "stat.csv" not in caplog.text
    (tmp_path / "in" / "stat.csv").write_text("dog,12,animals\nrain,13,nature\n")
    formats.prepare("vggsound", tmp_path / "in", tmp_path / "out")
    assert "1 of 2 classes have another number of clips than stat.csv says, such as rain: 12, not 13" in caplog.text
    (tmp_path / "in" / "stat.csv").write_text("dogs,12,animals\nrain,12,nature\n")
    with pytest.raises(ValueError, match="unknown label 'dog'; did you mean 'dogs'"):
        formats.prepare("vggsound", tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["a", 5, "dog"]], r"vggsound\.csv, line 1: 3 cells, expected 4: id, start, label, split"),
        ([['a"b', "\0" * 200000, "x", "y"]], r"vggsound\.csv, after line 1: not CSV in UTF-8"),
        ([["a", "5.5", "dog", "train"]], "start '5.5' and split 'train'; expected whole seconds"),
        ([["a", 5, "dog", "valid"]], "split 'valid'; expected whole seconds, and train or test"),
        ([["a", 5, "dog", "train"], ["a", 5, "rain", "test"]], "clip a at second 5 is twice"),
    ],
)
def test_a_list_of_another_layout_is_named(tmp_path, rows, message):
    write_list(tmp_path, rows)
    with pytest.raises(ValueError, match=message):
        formats.prepare("vggsound", tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subst": "vggs10"}, "unknown option of vggsound: 'subst'; did you mean 'subset'"),
        ({"subset": "vggs11"}, "unknown subset 'vggs11'; did you mean 'vggs10'"),
        ({"subset": "vggs10"}, "has no clips of airplane, baby babbling"),
        ({"valid": 1.5}, "option valid is 1.5, expected a share"),
        ({"seed": "x"}, 'vggsound: .*"seed"'),
    ],
)
def test_wrong_options_are_named(tmp_path, options, message):
    made(tmp_path, ["dog", "rain"])
    with pytest.raises(ValueError, match=message):
        formats.prepare("vggsound", tmp_path, tmp_path / "out", options)


def test_no_clip_at_all_says_what_is_expected(tmp_path):
    write_list(tmp_path, [["a", 5, "dog", "train"]])
    with pytest.raises(FileNotFoundError, match="none of the 1 clips has a file; expected <id>_<start as 000012>"):
        formats.prepare("vggsound", tmp_path, tmp_path / "out")


def test_the_real_list_finds_the_real_clips(tmp_path):
    lists, clips = shared("vggsound_lists"), shared("vggsound_samples")
    (tmp_path / "in").mkdir()
    for name in ("test.csv", "stat.csv"):
        (tmp_path / "in" / name).symlink_to(lists / name)
    (tmp_path / "in" / "video").symlink_to(clips / "video")
    path = formats.prepare("vggsound", tmp_path / "in", tmp_path / "out")
    expected = {row["youtube_id"]: row["label"] for row in read_table(clips / "labels.csv").rows}
    assert {row.group: row.label for row in read_manifest(path).rows} == expected
    assert len((tmp_path / "out" / "skipped.jsonl").read_text().splitlines()) == 15446 - 12


def test_the_papers_classes_are_in_the_real_list():
    with (shared("vggsound_lists") / "stat.csv").open(newline="") as file:
        assert set(VGGS10) < {row[0] for row in csv.reader(file)}
