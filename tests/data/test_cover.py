"""Drawn splits have every class wherever clips, or whole groups, suffice for it."""

from collections import Counter
from pathlib import Path

import pytest

from sparsefuse.config import Split
from sparsefuse.data.cover import cover_by_clips, cover_by_groups
from sparsefuse.data.manifest import Manifest, Row
from sparsefuse.data.split import split_rows


def manifest(*kinds: tuple[str, int, str]) -> Manifest:
    """(label, rows, group) -> so many rows."""
    rows = [(label, group) for label, count, group in kinds for _ in range(count)]
    return Manifest(Path("m.csv"), [Row(f"s{i:04d}", {}, *row[:1], "", row[1]) for i, row in enumerate(rows)], ())


def counted(divided: dict[str, list[Row]]) -> dict[str, Counter[str]]:
    return {name: Counter(row.label for row in rows) for name, rows in divided.items()}


@pytest.mark.parametrize(
    ("clips", "each"),
    [
        (3, [{1}, {1}, {1}]),
        (4, [{2}, {1}, {1}]),
        (8, [{5, 6}, {1}, {1, 2}]),  # 5.6, 0.8 and 1.6 in proportion
        (10, [{7}, {1}, {2}]),
        (20, [{14}, {2}, {4}]),
    ],
)
def test_every_class_of_three_clips_is_in_every_split(clips: int, each: list[set[int]]) -> None:
    whole = manifest(*((f"c{i}", clips, "") for i in range(9)))
    for seed in range(5):
        found = counted(split_rows(whole, Split(seed=seed), "class"))
        assert [set(found[name].values()) for name in ("train", "valid", "test")] == each
        assert all(len(counts) == 9 for counts in found.values())


def test_without_a_test_split_two_of_three_clips_train() -> None:
    whole = manifest(*((f"c{i}", 3, "") for i in range(10)))
    found = counted(split_rows(whole, Split(fractions=(0.85, 0.15, 0.0)), "class"))
    assert (set(found["train"].values()), set(found["valid"].values())) == ({2}, {1})


def test_classes_of_two_clips_train_in_proportion() -> None:
    """Half of the clips would validate, if every class did: two tenths do."""
    found = counted(
        split_rows(manifest(*((f"c{i}", 2, "") for i in range(10))), Split(fractions=(0.8, 0.2, 0)), "class")
    )
    assert sum(found["valid"].values()) == 4
    assert len(found["train"]) == 10


def test_a_number_is_no_class() -> None:
    found = split_rows(manifest(*((f"{i}.5", 3, "") for i in range(10))), Split(), "regression")
    assert {name: len(rows) for name, rows in found.items()} == {"train": 21, "valid": 3, "test": 6}


def test_one_label_of_several_is_not_taken_from_a_split_that_has_no_other() -> None:
    """Valid lacks b. The rows of train that have it have c and d too, of which one has the only c."""
    rows = [Row("0", {}, "b|c"), Row("1", {}, "b|d"), Row("2", {}, "d"), Row("3", {}, "a"), Row("4", {}, "a")]
    found = cover_by_clips(
        {"train": rows[:4], "valid": rows[4:]}, lambda row: row.label.split("|"), lambda count: count > 1
    )
    assert {name: [row.id for row in part] for name, part in found.items()} == {
        "train": ["0", "2", "3"],
        "valid": ["4", "1"],
    }


def test_three_people_who_do_something_rare_are_in_three_splits() -> None:
    """Of ten, of whom two validate and two test; by chance they would all train, as often as not."""
    people = [("usual", 10, f"p{i}") for i in range(10)]
    for first in range(8):
        rare = [("rare", 2, f"p{i}") for i in range(first, first + 3)]
        for seed in range(3):
            divided = split_rows(manifest(*people, *rare), Split(seed=seed), "class")
            assert [counts["rare"] for counts in counted(divided).values()] == [2, 2, 2]
            groups = {name: {row.group for row in rows} for name, rows in divided.items()}
            assert [len(groups[name]) for name in ("train", "valid", "test")] == [6, 2, 2]
            assert len(set().union(*groups.values())) == 10


def test_what_two_people_do_trains_and_validates_or_tests() -> None:
    people = [("usual", 10, f"p{i}") for i in range(10)]
    for seed in range(5):
        found = counted(split_rows(manifest(*people, ("rare", 2, "p3"), ("rare", 2, "p4")), Split(seed=seed), "class"))
        assert found["train"]["rare"] == 2
        assert found["valid"]["rare"] + found["test"]["rare"] == 2


def test_people_whose_classes_are_covered_stay_where_they_are() -> None:
    whole = manifest(*((label, 5, f"p{i}") for i in range(12) for label in "ab"))
    divided = split_rows(whole, Split(), "class")
    assert cover_by_groups(divided, lambda row: [row.label]) == divided


def test_a_large_group_is_not_swapped_for_a_small_one() -> None:
    """Valid, of 8 rows, lacks b: a group with one row of it is taken, the one of 31 rows is not."""
    rows = {
        "train": manifest(("a", 30, "big"), ("b", 1, "big"), ("b", 1, "x"), ("a", 20, "y")).rows,
        "valid": manifest(("a", 4, "v"), ("a", 4, "w")).rows,
    }
    swapped = cover_by_groups(rows, lambda row: [row.label])
    assert {row.group for row in swapped["valid"]} == {"x", "w"} or {row.group for row in swapped["valid"]} == {
        "x",
        "v",
    }
    rows["train"] = [row for row in rows["train"] if row.group != "x"]
    assert cover_by_groups(rows, lambda row: [row.label]) == rows


def test_heads_have_the_classes_that_they_have_in_proportion() -> None:
    whole = manifest(*((f"v{i % 4}+n{i}", 10, "") for i in range(30)), *((f"v9+n{i}", 1, "") for i in range(12)))
    for seed in range(5):
        found = split_rows(whole, Split(seed=seed), "heads")
        for rows in found.values():
            assert {row.label.split("+")[0] for row in rows} == {"v0", "v1", "v2", "v3", "v9"}
        assert 0.09 < len(found["valid"]) / len(whole.rows) < 0.12
