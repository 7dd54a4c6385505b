"""What `check` finds, counts and prints; tests/data/test_data_format.py has a broken set for every rule."""

import io
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from media_sounds import write_sound
from rich.console import Console

from sparsefuse.cli.verbs.data import check as verb
from sparsefuse.config import Config, Data, Split
from sparsefuse.data.check import Report, Size, Spread, check, files, show
from sparsefuse.data.check.lengths import outliers
from sparsefuse.data.contents import Fault
from sparsefuse.data.manifest import Row, read_manifest
from sparsefuse.data.prepare import prepare
from sparsefuse.files.rows import write_table
from sparsefuse.media.probe import Probe


def rows(num=20):
    rng = np.random.default_rng(0)
    return [
        {"id": f"s{i}", "label": "xy"[i % 2], "split": "train" if i < 16 else "test", "a": rng.normal(size=(2 + i, 3))}
        for i in range(num)
    ]


def found(clips, table, **options):
    manifest = clips(table)
    report = check(Data(manifest="manifest.csv", **options), manifest.root, jobs=1)
    json.dumps(report.to_json(), allow_nan=False)
    return report


def of_kind(report, kind):
    return [problem for problem in report.problems if problem.kind == kind]


def printed(report):
    console = Console(record=True, width=200, file=io.StringIO())
    show(report, console)
    return console.export_text()


def test_sizes_and_balance_are_counted(clips):
    report = found(clips, rows(), split=Split(by="stratified"))
    assert report.rows == 20
    assert report.modalities == {"a": Size(20, Spread(2, 11.5, 21), 3)}
    assert report.balance == {"train": {"x": 7, "y": 7}, "valid": {"x": 1, "y": 1}, "test": {"x": 2, "y": 2}}
    assert report.problems == []


def test_equal_contents_in_two_splits_are_a_leak(clips):
    table = rows()
    table[17]["a"] = table[3]["a"]
    (problem,) = of_kind(found(clips, table), "leak-content")
    assert problem.severity == "error"
    assert problem.ids == ("s3", "s17")
    assert "a: 2 samples (s3, s17) have the same contents (a_s3.npy, a_s17.npy)" in problem.message
    assert problem.message.endswith("are in several splits: test, train")  # both are y


def test_equal_contents_with_other_labels_are_named_so(clips):
    table = rows()
    table[18]["a"] = table[17]["a"]  # x and y
    (problem,) = of_kind(found(clips, table), "duplicate")
    assert problem.severity == "warning"
    assert problem.message.endswith("all in test; their labels differ: x, y")
    table = rows()
    table[19]["a"] = table[17]["a"]  # y and y
    (problem,) = of_kind(found(clips, table), "duplicate")
    assert problem.message.endswith("all in test")


def test_the_same_values_in_another_shape_are_not_the_same(clips):
    table = rows()
    table[3]["a"], table[17]["a"] = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(3, 2)
    assert not of_kind(found(clips, table), "leak-content")


def test_the_same_features_in_two_formats_are_a_leak(clips, tmp_path):
    table = rows()
    np.savez(tmp_path / "z.npz", x=table[3]["a"], y=np.ones((2, 3)))
    table[17]["a"] = "z.npz#x"
    (problem,) = of_kind(found(clips, table), "leak-content")
    assert problem.ids == ("s3", "s17")


def test_two_arrays_of_one_file_are_no_leak(clips, tmp_path):
    table = rows()
    np.savez(tmp_path / "z.npz", x=table[3]["a"], y=table[17]["a"])
    table[3]["a"], table[17]["a"] = "z.npz#x", "z.npz#y"
    assert not found(clips, table).problems


def test_the_splits_of_the_configuration_decide_what_is_a_leak(clips):
    table = [{**row, "group": row["id"]} for row in rows()]
    table[17]["a"] = table[3]["a"]
    table[17]["group"] = table[3]["group"]
    assert of_kind(found(clips, table), "leak-content")
    assert not of_kind(found(clips, table, split=Split(by="group")), "leak-content")


def test_every_group_in_two_splits_is_counted(clips):
    table = [{**row, "group": "g" + row["id"][-1]} for row in rows()]
    said = [problem.message for problem in of_kind(found(clips, table), "leak-group")]
    assert "groups in both train and test: 3 (g6, g8, g9)" in said
    assert "groups in both valid and test: 1 (g7)" in said  # a whole group of the training clips validates


def people(*, odd=None, num=6, each=10, seed=0):
    """Clips of six axes of as many people, whose habits differ by a third of a deviation; those of p2 may be odd."""
    rng = np.random.default_rng(seed)
    table = []
    for person in range(num):
        habit = 3 * np.sin(np.arange(6)) + rng.normal(size=6) / 3
        for i in range(each):
            a = habit + rng.normal(size=6) + rng.normal(size=(20, 6))
            a = odd(a) if odd and person == 2 else a
            table.append({"id": f"p{person}-{i}", "label": "xy"[i % 2], "group": f"p{person}", "a": a})
    return table


def test_the_groups_of_each_split_are_named(clips):
    report = found(clips, people())
    assert sorted(name for names in report.groups.values() for name in names) == [f"p{i}" for i in range(6)]
    assert len(report.groups["valid"]) == 2
    assert report.to_json()["groups"] == report.groups
    text = printed(report)
    for split, names in report.groups.items():
        assert re.search(rf"{split} +{len(names)} +{', '.join(names)}", text)
    assert found(clips, rows()).groups == {}


@pytest.mark.parametrize(
    ("odd", "what"),
    [
        (lambda a: a * [1, -1, 1, 1, 1, 1], "mean"),  # the watch on the other wrist
        (lambda a: a / 9.81, "deviation"),  # another unit
        (lambda a: a + 3, "mean"),
    ],
)
def test_a_group_that_lies_apart_is_named_with_its_worst_feature(clips, odd, what):
    table = people(odd=odd)
    (problem,) = of_kind(found(clips, table), "group-apart")
    assert problem.severity == "warning"
    assert problem.message.startswith("group p2 (")
    measure = np.mean if what == "mean" else np.std
    feature = int(re.search(r"in feature (\d)", problem.message)[1])
    each = [np.mean([measure(r["a"], 0) for r in table if r["group"] == f"p{i}"], 0)[feature] for i in range(6)]
    assert problem.message.endswith(f"its {what} is {each[2]:.3g}, {np.median(each):.3g} in the median group")


def test_groups_alike_or_too_few_to_compare_do_not_lie_apart(clips):
    for seed in range(5):
        assert not of_kind(found(clips, people(seed=seed)), "group-apart")
    assert not of_kind(found(clips, people(odd=lambda a: a + 9, num=3)), "group-apart")
    assert not of_kind(found(clips, people(odd=lambda a: a + 9, each=4)), "group-apart")


def media(folder: Path, rows: list[dict]) -> Report:
    write_table(folder / "manifest.csv", rows)
    return check(Data(manifest="manifest.csv"), folder, jobs=1)


def part(i: int, start: str, end: str, split: str) -> dict:
    return {"id": f"s{i}", "audio": "a.wav", "start": start, "end": end, "label": "xy"[i % 2], "split": split}


@pytest.fixture
def sound(tmp_path):
    write_sound(tmp_path / "a.wav", 10)
    return tmp_path


@pytest.mark.parametrize(
    ("third", "kind"),
    [
        (part(2, "5", "7", "test"), "leak-group"),  # another part of the same recording
        (part(2, "4", "7", "test"), "leak-group"),
        (part(2, "3.9", "7", "test"), "leak-file"),
        (part(2, "", "", "test"), "leak-file"),
        (part(2, "5", "7", "train"), None),
        (part(2, "2", "4", "train"), "duplicate"),
    ],
)
def test_parts_of_one_recording_leak_where_they_overlap(sound, third, kind):
    report = media(sound, [part(0, "0", "2", "train"), part(1, "2", "4", "train"), third])
    kinds = {problem.kind for problem in report.problems} & {"leak-file", "leak-group", "leak-content", "duplicate"}
    assert kinds == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("4", "2", "end 2 does not come after start 4"),
        ("-1", "2", "start is '-1', expected seconds"),
        ("0:30", "2", "start is '0:30', expected seconds"),
        ("1", "nan", "end is 'nan', expected seconds"),
        ("11", "", "a.wav is 10.00 s long; the row names 11 s to its end"),
        ("1", "10.6", "a.wav is 10.00 s long; the row names 1 s to 10.6 s"),
    ],
)
def test_segments_that_cannot_be_cut_are_named(sound, start, end, reason):
    report = media(sound, [part(0, "0", "2", "train"), part(1, "2", "10.4", "train"), part(2, start, end, "train")])
    (problem,) = of_kind(report, "segment")
    assert reason in problem.message
    assert problem.ids == ("s2",)


def test_equal_media_files_are_found_by_their_bytes(sound):
    (sound / "b.wav").write_bytes((sound / "a.wav").read_bytes())
    write_sound(sound / "c.wav", 10, seed=1)  # of the same size
    rows = [
        {"id": n, "audio": f"{n}.wav", "label": n > "a", "split": s}
        for n, s in zip("abc", ["train", "test", "test"], strict=True)
    ]
    report = media(sound, rows)
    (problem,) = of_kind(report, "leak-content")
    assert problem.ids == ("a", "b")


def test_tokens_per_second_are_compared_where_seconds_are_known(clips):
    """Ten tokens a second; one clip has as many tokens as the others, but of half the time."""
    table = []
    for i in range(12):
        seconds = 1 + i % 4
        tokens = np.random.default_rng(i).normal(size=(10 * seconds, 2))
        table.append({"id": f"s{i}", "a": tokens, "label": "xy"[i % 2], "start": "3", "end": str(3 + seconds)})
    table[5]["end"] = "4"  # it was 2 seconds
    (problem,) = of_kind(found(clips, table), "rate")
    assert problem.message == "sample s5: a has 20.00 tokens per second; the median is 10"


def test_lengths_that_go_together_are_not_odd(clips):
    """Lengths differ by a factor of 20, but those of b are always twice those of a."""
    rng = np.random.default_rng(0)
    table = [{"id": f"s{i}", "a": rng.normal(size=(n, 2)), "b": rng.normal(size=(2 * n, 2)), "label": "xy"[i % 2]}
             for i, n in enumerate(rng.integers(4, 80, 20))]  # fmt: skip
    assert not of_kind(found(clips, table), "rate")
    assert not of_kind(found(clips, table), "length")
    table[3]["b"] = table[3]["b"][::2]
    assert [problem.ids for problem in of_kind(found(clips, table), "rate")] == [("s3",)]


def test_outliers_are_a_factor_and_five_deviations_off():
    """Logs of 8..12 around 10: their MAD is near log(1.1), 5 scaled MADs near a factor of 2."""
    assert outliers([10] * 10 + [19], 2) == []
    assert outliers([10] * 10 + [20], 2) == [10]
    assert outliers([10] * 10 + [5], 2) == [10]
    spread = [5, 7, 10, 14, 20] * 3
    assert outliers([*spread, 45], 2) == []
    assert outliers([*spread, 400], 2) == [15]
    assert outliers([10] * 6 + [100], 2) == []  # too few to know what is usual


def test_constant_features_are_named(clips):
    table = rows()
    for row in table:
        row["a"][:, 1] = 7
    (problem,) = of_kind(found(clips, table), "constant")
    assert problem.message == "a: 1 of 3 features never change: columns 1 (from 0)"


def test_a_feature_that_is_constant_in_each_clip_but_not_over_them_is_fine(clips):
    table = rows()
    for i, row in enumerate(table):
        row["a"][:, 1] = i
    assert not of_kind(found(clips, table), "constant")


def test_the_columns_that_are_not_finite_are_named(clips):
    table = rows()
    table[2]["a"][0, 2] = table[2]["a"][1, 0] = -np.inf
    (problem,) = of_kind(found(clips, table), "nonfinite")
    assert problem.message.endswith("columns 0, 2")


@pytest.mark.filterwarnings("ignore")
def test_check_names_every_sample_that_training_would_lose(clips, tmp_path):
    (tmp_path / "text.npy").write_text("no numbers")
    table = rows()
    table[1]["a"] = "gone.npy"
    table[2]["a"] = "text.npy"
    table[3]["a"][1, 1] = np.nan
    table[4]["a"] = np.ones((3, 5))
    table[5]["label"] = ""
    table[6]["a"] = ""
    report = found(clips, table)
    manifest = read_manifest(tmp_path / "manifest.csv")
    splits = {name: [row for row in manifest.rows if row.split == name] for name in ("train", "test")}
    lost = {skip.id for skip in prepare(splits, tmp_path, modalities=["a"]).skips}
    assert lost == {"s1", "s2", "s3", "s4", "s5", "s6"}
    assert {id for p in report.problems if p.severity == "error" for id in p.ids} == lost
    kinds = {p.ids[0]: p.kind for p in report.problems if p.severity == "error" and p.kind != "dropped"}
    assert kinds == {"s1": "missing", "s2": "unreadable", "s3": "nonfinite", "s4": "width", "s5": "label"}


def test_a_decoder_that_crashes_costs_one_file(clips, monkeypatch):
    real = files.each

    def crashing(work, tasks, jobs, **options):
        for task, result in real(work, tasks, jobs, **options):
            yield task, None if task == "a_s3.npy" else result

    monkeypatch.setattr(files, "each", crashing)
    (problem,) = of_kind(found(clips, rows()), "unreadable")
    assert problem.message == "sample s3: a_s3.npy: the decoder crashed"


def hang_at_one(ref, root):
    time.sleep(60 if ref == "one.mp4" else 0)
    return Probe(1, None, None)


@pytest.mark.slow  # two processes import torch
def test_a_film_that_holds_the_decoder_up_costs_itself(monkeypatch, tmp_path):
    monkeypatch.setattr(files, "media_contents", hang_at_one)
    monkeypatch.setattr(files, "SECONDS", 1.0)
    looked = files.Files([Row(name, {"video": f"{name}.mp4"}, "x") for name in ("one", "two")], ["video"])
    looked.read(tmp_path, jobs=2)
    assert looked.of_media == {
        "one.mp4": Fault("unreadable", "one.mp4: probing it timed out after 1 s"),
        "two.mp4": Probe(1, None, None),
    }


def test_a_file_of_several_rows_is_read_once(clips, monkeypatch):
    read = []
    real = files.contents
    monkeypatch.setattr(files, "contents", lambda ref, root: [read.append(ref), real(ref, root)][1])
    table = rows()
    for row in table[1:5]:
        row["a"] = "a_s0.npy"
    found(clips, table)
    assert sorted(read) == sorted({f"a_{row['id']}.npy" for row in table if isinstance(row["a"], np.ndarray)})


def test_uneven_classes_are_named(clips):
    table = rows()
    for row in table[:-1]:
        row["label"] = "x"
    table[0]["label"] = "y"
    (problem,) = of_kind(found(clips, table, split=Split(by="given")), "uneven")
    assert "'x' has 13 samples, 'y' has 1" in problem.message


def test_a_set_that_cannot_be_divided_still_has_its_files_checked(clips):
    table = rows()
    table[3]["a"] = "gone.npy"
    report = found(clips, table, split=Split(by="group"))
    assert [p.kind for p in report.problems] == ["unusable", "missing"]
    assert "no group" in report.problems[0].message


def test_every_bad_id_is_named_at_once(tmp_path):
    table = [{"id": id, "a": "x.npy", "label": "x"} for id in ("a", "b", "a", "", "b", "a", "c")]
    problems = media(tmp_path, table).problems
    assert [p.message for p in problems] == [
        "line 5: the id is empty; every row needs one",
        "id 'a' is on lines 2, 4, 7; ids are unique",
        "id 'b' is on lines 3, 6; ids are unique",
    ]


def test_classes_that_look_the_same_are_shown_by_their_code_points(clips):
    table = [row | {"label": ["caf\u00e9", "cafe\u0301"][i % 2]} for i, row in enumerate(rows())]
    (problem,) = of_kind(found(clips, table), "alike")
    assert problem.message == r"2 classes may be the same: 'cafe\u0301', 'caf\xe9'"


def test_groups_that_differ_in_writing_alone_may_be_one(clips):
    table = [row | {"group": ["P1", "p1", "P 1", "07", "7", ""][i % 6]} for i, row in enumerate(rows())]
    report = found(clips, table, split=Split(by="stratified"))
    assert [problem.message for problem in of_kind(report, "alike")] == [
        "2 groups may be the same: '07', '7'",
        "3 groups may be the same: 'P 1', 'P1', 'p1'",
    ]


def test_lists_are_classes_of_their_own_until_a_separator_is_given(clips):
    table = [row | {"label": ["['x', 'y']", "['y']", "x"][i % 3]} for i, row in enumerate(rows())]
    assert of_kind(found(clips, table), "several")
    report = found(clips, table, separator=",")
    assert not of_kind(report, "several")
    assert list(report.balance["train"]) == ["x", "y"]


def test_a_report_prints_problems_by_kind_with_count_and_fix(clips):
    table = rows()
    table.append({"id": "[odd]", "label": "x", "split": "train", "a": "[x].npy"})
    text = printed(found(clips, table))
    assert "error: missing  1 found" in text
    assert "sample [odd]: [x].npy: file not found" in text
    assert "fix: copy the file, or empty its cell" in text
    assert "2 errors, 0 warnings, 0 notes" in text
    assert "no problems" in printed(found(clips, rows()))


def test_many_problems_of_a_kind_are_cut_short(clips):
    bad = [{"id": f"b{i}", "label": "x", "split": "train", "a": "nowhere.npy"} for i in range(30)]
    report = found(clips, rows() + bad)
    text = printed(report)
    assert "error: missing  30 found" in text
    assert "... and 25 more" in text
    assert text.count("nowhere.npy: file not found") == 5
    assert len(of_kind(report, "missing")) == 30


def test_of_many_classes_the_largest_and_smallest_are_printed():
    counts = {f"c{i:03d}": 500 - i for i in range(309)}
    text = printed(Report("m.csv", 1, balance={"train": counts}))
    assert all(name in text for name in ("c000", "c011", "c297", "c308", "285 more"))
    assert "c012" not in text
    assert "c296" not in text


@pytest.mark.filterwarnings("ignore")
def test_the_exit_code_is_by_severity(clips, tmp_path):
    def code(table, **flags):
        manifest = clips(table)
        try:
            verb(Config(data=Data(manifest=str(manifest.path))), json=tmp_path / "found.json", jobs=1, **flags)
        except SystemExit as ended:
            return ended.code
        return 0

    warned = rows()
    warned[18]["a"] = warned[16]["a"]
    assert (code(rows()), code(rows(), strict=True)) == (0, 0)
    assert (code(warned), code(warned, strict=True)) == (0, 1)
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["counts"] == {"error": 0, "warning": 1, "note": 0}
    assert written["fixes"].keys() == {"duplicate"}
    assert code([*rows(), {"id": "bad", "label": "x", "split": "train", "a": "nowhere.npy"}]) == 1


def test_media_are_looked_into_by_other_processes(sound):
    write_table(sound / "manifest.csv", [part(0, "", "", "train"), {**part(1, "", "", "train"), "audio": "gone.wav"}])
    report = check(Data(manifest="manifest.csv"), sound, jobs=2)
    assert report.media["audio"].files == 1
    assert [p.ids for p in report.problems if p.kind == "missing"] == [("s1",)]


def test_media_are_summed_up(sound):
    report = media(sound, [part(0, "", "", "train"), part(1, "", "", "train")])
    (size,) = report.media.values()
    assert size == (1, Spread(10, 10, 10), 0, 1, {}, {}, {"8000": 1})
    assert report.balance["train"] == {"x": 1, "y": 1}
