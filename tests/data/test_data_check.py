import io
import json

import numpy as np
from rich.console import Console

from sparsefuse.config import Data, Split
from sparsefuse.data.check import Size, Spread, check, show


def rows(num=20):
    rng = np.random.default_rng(0)
    return [
        {"id": f"s{i}", "label": "xy"[i % 2], "split": "train" if i < 16 else "test", "a": rng.normal(size=(2 + i, 3))}
        for i in range(num)
    ]


def found(clips, table, **options):
    manifest = clips(table)
    report = check(Data(manifest="manifest.csv", **options), manifest.root)
    json.dumps(report.to_json())
    return report


def test_sizes_and_balance_are_counted(clips):
    report = found(clips, rows(), split=Split(by="stratified"))
    assert report.rows == 20
    assert report.modalities == {"a": Size(20, Spread(2, 11.5, 21), 3)}
    assert report.balance == {"train": {"x": 7, "y": 7}, "valid": {"x": 1, "y": 1}, "test": {"x": 2, "y": 2}}
    assert report.problems == []


def test_equal_contents_in_two_splits_are_a_leak(clips):
    table = rows()
    table[17]["a"] = table[3]["a"]
    problems = [p for p in found(clips, table).problems if p.kind == "leak"]
    assert [p.severity for p in problems] == ["error"]
    assert "a: 2 samples have the same contents (s3, s17) and are in several splits: test, train" in problems[0].message


def test_equal_contents_within_a_split_are_a_warning(clips):
    table = rows()
    table[18]["a"] = table[19]["a"]
    (problem,) = [p for p in found(clips, table).problems if p.kind == "duplicate"]
    assert problem.severity == "warning"
    assert "s18, s19" in problem.message


def test_a_group_in_two_splits_is_a_warning(clips):
    table = [{**row, "group": "g" + row["id"][-1]} for row in rows()]
    (problem,) = [p for p in found(clips, table).problems if p.kind == "leak" and "train and test" in p.message]
    assert "4 groups are in both train and test (g6, g7, g8, g9)" in problem.message


def test_constant_features_are_named(clips):
    table = rows()
    for row in table:
        row["a"][:, 1] = 7
    (problem,) = [p for p in found(clips, table).problems if p.kind == "constant"]
    assert problem.message == "a: 1 of 3 features never change: columns 1 (from 0)"


def test_what_would_be_skipped_is_an_error(clips):
    table = [*rows(), {"id": "bad", "label": "x", "split": "train", "a": "nowhere.npy"}]
    skipped = [p for p in found(clips, table).problems if p.kind == "skipped"]
    assert [p.severity for p in skipped] == ["error", "error"]  # the file, and the sample without any other
    assert "nowhere.npy: file not found" in skipped[0].message


def test_uneven_classes_are_named(clips):
    table = rows()
    for row in table[:-1]:
        row["label"] = "x"
    table[0]["label"] = "y"
    messages = [p.message for p in found(clips, table, split=Split(by="given")).problems if p.kind == "balance"]
    assert any("'x' has 13 samples, 'y' has 1" in m for m in messages)


def test_a_set_that_cannot_be_used_is_one_error(clips):
    report = found(clips, rows(), split=Split(by="group"))
    assert [p.kind for p in report.problems] == ["unusable"]
    assert "no group" in report.problems[0].message


def test_the_report_prints_each_problem_as_it_is(clips):
    table = rows()
    table.append({"id": "[odd]", "label": "x", "split": "train", "a": "[x].npy"})
    console = Console(record=True, width=200, file=io.StringIO())
    show(found(clips, table), console)
    text = console.export_text()
    assert "error: sample [odd]: [x].npy: file not found" in text
    assert "2 errors" in text


def test_many_problems_of_a_kind_are_cut_short(clips):
    bad = [{"id": f"b{i}", "label": "x", "split": "train", "a": "nowhere.npy"} for i in range(30)]
    report = found(clips, rows() + bad)
    console = Console(record=True, width=200, file=io.StringIO())
    show(report, console)
    assert "... and 40 more of kind skipped" in console.export_text()
    assert len([p for p in report.problems if p.kind == "skipped"]) == 60
