"""k folds: every row is tested once, classes in proportion, groups whole."""

import dataclasses
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from sparsefuse.config import Split
from sparsefuse.data.manifest import Manifest, Row
from sparsefuse.data.split import split_rows


def manifest(labels: list[str], *, groups: list[str] | None = None, split: str = "") -> Manifest:
    names = groups or [""] * len(labels)
    rows = [Row(f"s{i:03d}", {}, label, split, names[i]) for i, label in enumerate(labels)]
    return Manifest(Path("m.csv"), rows, ())


def each(whole: Manifest, split: Split, task: str = "class") -> list[dict[str, list[Row]]]:
    return [split_rows(whole, fold, task) for fold in split.each_fold()]


def held_out(divided: dict[str, list[Row]]) -> list[str]:
    return sorted(row.id for row in divided["test"])


@given(st.lists(st.sampled_from("aaabbc"), min_size=10, max_size=40), st.integers(2, 6), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_every_row_is_tested_once_and_classes_are_in_proportion(labels: list[str], k: int, seed: int) -> None:
    whole = manifest(labels)
    found = each(whole, Split(k=k, seed=seed, fractions=(1.0, 0.0, 0.0)))
    assert sorted(row.id for fold in found for row in fold["test"]) == [row.id for row in whole.rows]
    for fold in found:
        assert {row.id for row in fold["train"]} == {row.id for row in whole.rows} - {row.id for row in fold["test"]}
        for label, count in Counter(labels).items():
            assert abs(sum(row.label == label for row in fold["test"]) - count / k) < 1
        assert abs(len(fold["test"]) - len(labels) / k) < 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), min_size=30, max_size=60), st.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_every_row_is_tested_once_and_no_group_is_in_two_folds(rows: list[tuple[str, int]], k: int) -> None:
    whole = manifest([label for label, _ in rows], groups=[f"g{g}" for _, g in rows])
    if len({g for _, g in rows}) < k + 1 or Counter(g for _, g in rows).most_common(1)[0][1] > 10:
        return  # one large group that tests may leave two clips
    found = each(whole, Split(k=k, valid_by="stratified"))
    assert sorted(row.id for fold in found for row in fold["test"]) == [row.id for row in whole.rows]
    for fold in found:
        there = [{row.group for name in names for row in fold[name]} for names in (("test",), ("train", "valid"))]
        assert all(there)
        assert not there[0] & there[1]


def test_folds_of_groups_are_as_even_as_scikit_learns() -> None:
    """By the mean over classes of the deviation of a class's shares in folds, which scikit-learn minimises, too."""
    rng = np.random.default_rng(0)
    groups = [f"g{g}" for g, size in enumerate(rng.integers(2, 12, 40)) for _ in range(size)]
    labels = rng.choice(["a", "b", "c"], len(groups), p=[0.7, 0.2, 0.1]).tolist()

    def unevenness(folds: list[list[str]]) -> float:
        counts = np.array([[fold.count(label) for label in "abc"] for fold in folds])
        return float((counts / counts.sum(0)).std(0).mean())

    mine = [[row.label for row in fold["test"]] for fold in each(manifest(labels, groups=groups), Split(k=5))]
    theirs = [
        [labels[i] for i in test] for _, test in StratifiedGroupKFold(5).split(np.zeros(len(labels)), labels, groups)
    ]
    assert unevenness(mine) < max(1.1 * unevenness(theirs), 0.02)


def test_folds_follow_from_the_seed_alone() -> None:
    whole = manifest(["a", "b"] * 30, groups=[f"g{i % 20}" for i in range(60)])
    for by in ("stratified", "group"):
        split = Split(k=4, by=by)
        first = [held_out(fold) for fold in each(whole, split)]
        assert first == [held_out(fold) for fold in each(whole._replace(rows=whole.rows[::-1]), split)]
        assert first != [held_out(fold) for fold in each(whole, dataclasses.replace(split, seed=1))]


def test_a_split_column_is_ignored_and_the_rest_is_divided_by_the_other_fractions() -> None:
    whole = manifest(["a"] * 40 + ["b"] * 40, split="train")
    found = split_rows(whole, Split(k=4, fold=1, fractions=(0.6, 0.2, 0.2)), "class")
    counts = {name: Counter(row.label for row in rows) for name, rows in found.items()}
    assert counts == {"train": {"a": 22, "b": 23}, "valid": {"a": 8, "b": 7}, "test": {"a": 10, "b": 10}}


@pytest.mark.parametrize("task", ["multilabel", "heads", "regression"])
def test_other_labels_are_in_proportion_too(task: str) -> None:
    labels = {"multilabel": ["a", "a|b"], "heads": ["x+y", "x+z"], "regression": ["0.5", "9.5"]}[task]
    for fold in each(manifest(labels * 20), Split(k=4), task):
        assert Counter(row.label for row in fold["test"]) == {labels[0]: 5, labels[1]: 5}


def test_a_class_that_one_fold_cannot_train_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        split_rows(manifest(["a"] * 9 + ["rare"]), Split(k=2), "class")
        groups = manifest(["a"] * 6 + ["b"] * 4, groups=[f"g{i}" for i in range(6)] + ["g6"] * 4)
        split_rows(groups, Split(k=2, fractions=(1.0, 0.0, 0.0)), "class")
    assert "1 classes are in one clip only, so the fold that tests it cannot train on it: rare" in caplog.text
    assert "1 classes are in one group only, so the fold that tests it cannot train on it: b" in caplog.text


def test_too_few_clips_or_groups_are_counted() -> None:
    with pytest.raises(ValueError, match=r"data\.split\.k is 9, but there are 4 clips"):
        split_rows(manifest(["a", "b"] * 2), Split(k=9), "class")
    with pytest.raises(ValueError, match=r"data\.split\.k is 3, but there are 2 groups"):
        split_rows(manifest(["a", "b"] * 2, groups=["x", "x", "y", "y"]), Split(k=3), "class")


def test_a_fold_that_is_chosen_is_the_only_one() -> None:
    split = Split(by="group", folds=[["1", "2"], ["3", "4"]])
    folds = split.each_fold()
    assert [fold.test_groups for fold in folds] == [["1", "2"], ["3", "4"]]
    assert folds[1].each_fold() == [folds[1]]
    assert folds[1].number == 1
