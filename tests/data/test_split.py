import dataclasses
import logging
import random
from collections import Counter
from pathlib import Path

import pytest

from sparsefuse.config import Split
from sparsefuse.data.manifest import Manifest, Row
from sparsefuse.data.split import split_rows


def manifest(labels, groups=(), splits=()):
    rows = [
        Row(f"s{i:03d}", {}, label, splits[i] if splits else "", groups[i] if groups else "")
        for i, label in enumerate(labels)
    ]
    return Manifest(Path("m.csv"), rows, ())


def members(divided):
    return {name: {row.id for row in rows} for name, rows in divided.items()}


def test_every_class_is_divided_in_proportion():
    divided = split_rows(manifest(["a"] * 50 + ["b"] * 20), Split(), "class")
    counts = {name: Counter(row.label for row in rows) for name, rows in divided.items()}
    assert counts == {"train": {"a": 35, "b": 14}, "valid": {"a": 5, "b": 2}, "test": {"a": 10, "b": 4}}


def test_a_share_of_the_training_clips_is_of_every_class_and_within_larger_shares():
    whole = manifest(["a"] * 50 + ["b"] * 20)
    full, half, tenth = (split_rows(whole, Split(train_share=share), "class") for share in (1.0, 0.5, 0.1))
    assert Counter(row.label for row in half["train"]) == {"a": 18, "b": 7}  # 17.5 of 35, 7 of 14
    assert members(tenth)["train"] < members(half)["train"] < members(full)["train"]
    assert members(tenth)["valid"] == members(full)["valid"]
    assert members(tenth)["test"] == members(full)["test"]


def test_a_share_that_every_label_exceeds_says_how_many_stay(caplog):
    whole = manifest([f"c{i}" for i in range(10) for _ in range(5)])  # 3 of each to train on
    with caplog.at_level(logging.WARNING):
        kept = split_rows(whole, Split(train_share=0.1), "class")["train"]
    assert len(kept) == 10
    assert "every label keeps one clip: 10 of 30 stay" in caplog.text


def test_rounding_does_not_empty_a_split():
    """2 samples a class would round to 1 or 2, 0, 0 or 1 in each: valid gets its 2 of 20 all the same."""
    divided = split_rows(manifest([f"c{i}" for i in range(10) for _ in range(2)]), Split(), "class")
    assert {name: len(rows) for name, rows in divided.items()} == {"train": 14, "valid": 2, "test": 4}
    assert {row.label for row in divided["train"]} == {f"c{i}" for i in range(10)}


@pytest.mark.parametrize("split", [Split(), Split(by="group"), Split(by="group", valid_by="stratified")])
def test_every_row_once_whatever_the_order_and_another_seed_differs(split):
    whole = manifest(["a", "b"] * 30, groups=[f"g{i % 12}" for i in range(60)])
    found = members(split_rows(whole, split, "class"))
    assert sorted(i for ids in found.values() for i in ids) == [row.id for row in whole.rows]
    shuffled = whole._replace(rows=random.Random(0).sample(whole.rows, 60))
    assert members(split_rows(shuffled, split, "class")) == found
    other = Split(by=split.by, valid_by=split.valid_by, seed=1)
    assert members(split_rows(whole, other, "class")) != found


def test_a_class_with_one_sample_goes_to_train_and_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        divided = split_rows(manifest(["a"] * 20 + ["rare"]), Split(), "class")
    assert "s020" in members(divided)["train"]
    assert "rare" in caplog.text


def test_only_single_samples_cannot_be_split():
    with pytest.raises(ValueError, match="valid and test would be empty"):
        split_rows(manifest(["a", "b", "c"]), Split(), "class")


def test_several_labels_are_stratified_by_the_rarest():
    divided = split_rows(manifest(["common|rare"] * 10 + ["common"] * 40), Split(), "multilabel")
    assert {name: sum("rare" in r.label for r in rows) for name, rows in divided.items()} == {
        "train": 7,
        "valid": 1,
        "test": 2,
    }


def test_numbers_are_stratified_over_their_range():
    divided = split_rows(manifest([str(i / 7) for i in range(100)]), Split(), "regression")
    for share, rows in zip((7, 1, 2), divided.values(), strict=True):
        tenths = Counter(int(float(row.label) * 7) // 10 for row in rows)
        assert [tenths[i] for i in range(10)] == [share] * 10


def test_no_group_is_in_two_splits_and_sizes_are_near():
    divided = split_rows(manifest(["a"] * 100, groups=[f"g{i % 20}" for i in range(100)]), Split(), "class")
    groups = {name: {row.group for row in rows} for name, rows in divided.items()}
    assert sum(map(len, groups.values())) == 20
    assert {name: len(rows) for name, rows in divided.items()} == {"train": 70, "valid": 10, "test": 20}


def groups_of(divided):
    return {name: sorted({row.group for row in rows}) for name, rows in divided.items()}


@pytest.mark.parametrize(("people", "counts"), [(5, (2, 2, 1)), (6, (3, 2, 1)), (10, (6, 2, 2)), (30, (21, 3, 6))])
def test_two_groups_or_more_validate(people, counts, caplog):
    """A tenth of ten people would be one, who alone would choose the epoch; training gives up the other."""
    whole = manifest(["a", "b"] * 5 * people, groups=[f"p{i // 10}" for i in range(10 * people)])
    for seed in range(5):
        divided = groups_of(split_rows(whole, Split(seed=seed), "class"))
        assert tuple(map(len, divided.values())) == counts
    assert not caplog.text


def test_two_small_groups_validate_beside_large_ones():
    sizes = {"g0": 40, "g1": 30, "g2": 20, "g3": 4, "g4": 3, "g5": 3}
    whole = manifest(["a"] * 100, groups=[name for name, size in sizes.items() for _ in range(size)])
    divided = groups_of(split_rows(whole, Split(), "class"))
    assert min(len(divided["train"]), len(divided["valid"])) >= 2
    assert divided["test"]


def test_too_few_groups_validate_by_clips_of_the_training_groups(caplog):
    whole = manifest(["a", "b"] * 20, groups=[f"p{i // 10}" for i in range(40)])
    divided = split_rows(whole, Split(), "class")
    names = groups_of(divided)
    assert names["valid"] == names["train"]
    assert len(names["train"]) == 3
    assert not set(names["test"]) & set(names["train"])
    assert "4 groups are too few for 2 that validate and 2 that train" in caplog.text


@pytest.mark.parametrize("given", [True, False])
def test_one_group_that_validates_alone_is_named(given, caplog):
    groups, splits = ["ann", "bob", "cy"], ["train", "valid", "test"]
    whole = manifest(["a"] * 30, groups=[groups[i % 3] for i in range(30)],
                     splits=[splits[i % 3] for i in range(30)] if given else ())  # fmt: skip
    (judge,) = groups_of(split_rows(whole, Split(valid_by="group"), "class"))["valid"]
    assert f"one group alone ({judge}) validates" in caplog.text


def test_one_group_in_all_splits_is_no_lone_judge(caplog):
    split_rows(manifest(["a"] * 30, groups=["all"] * 30), Split(by="stratified"), "class")
    split_rows(manifest(["a"] * 30), Split(by="stratified"), "class")
    assert not caplog.text


def test_three_uneven_groups_leave_no_split_empty():
    whole = manifest(["a"] * 100, groups=["big"] * 90 + ["mid"] * 9 + ["small"])
    divided = split_rows(whole, Split(valid_by="group"), "class")
    assert {row.group for row in divided["train"]} == {"big"}
    assert {row.group for row in divided["test"]} == {"mid"}
    assert {row.group for row in divided["valid"]} == {"small"}


def test_test_groups_are_the_test_split():
    whole = manifest(["a", "b"] * 30, groups=[str(i // 10) for i in range(60)])
    divided = split_rows(whole, Split(by="group", test_groups=["4", "5"]), "class")
    assert {row.group for row in divided["test"]} == {"4", "5"}
    assert {name: len(rows) for name, rows in divided.items()} == {
        "train": 20,
        "valid": 20,
        "test": 20,
    }  # 2 groups each


def test_valid_may_be_drawn_from_the_training_groups():
    whole = manifest(["a", "b"] * 30, groups=[str(i // 10) for i in range(60)])
    divided = split_rows(whole, Split(by="group", test_groups=["4", "5"], valid_by="stratified"), "class")
    assert {name: len(rows) for name, rows in divided.items()} == {"train": 35, "valid": 5, "test": 20}
    assert {row.group for row in divided["valid"]} <= {row.group for row in divided["train"]}


@pytest.mark.parametrize(
    ("groups", "split", "message"),
    [
        (["one"] * 6, Split(valid_by="group"), "needs 3 groups, but there is 1 (one); set split.valid_by=stratified"),
        (["one"] * 6, Split(), "needs 2 groups, but there is 1 (one); set split.by=stratified"),
        (["a", "b"] * 3, Split(valid_by="group"), "needs 3 groups, but there are 2"),
        (["a", "b"] * 3, Split(test_groups=["a"], valid_by="group"), "there is 1 (b) besides the test groups"),
        (["alice", "bob", "cy"] * 2, Split(test_groups=["alic"]), "unknown group 'alic'; did you mean 'alice'"),
        (["a", "b", ""] * 2, Split(), "2 of 6 rows have no group (such as 's002')"),
        ([], Split(by="group"), "6 of 6 rows have no group"),
        ([], Split(test_groups=["a"]), "test_groups needs a group split, but split.by is stratified"),
        ([], Split(fractions=(0.5, 0.5, 0.5)), "sum to 1"),
    ],
)
def test_what_cannot_be_divided_says_why(groups, split, message):
    with pytest.raises(ValueError) as error:
        split_rows(manifest(["x", "y"] * 3, groups=groups), split, "class")
    assert message in str(error.value)


def test_given_splits_are_kept():
    divided = split_rows(manifest("abc", groups="ggg", splits=["test", "train", "valid"]), Split(), "class")
    assert members(divided) == {"train": {"s001"}, "valid": {"s002"}, "test": {"s000"}}


def test_a_missing_valid_split_is_drawn_from_train(caplog):
    divided = split_rows(manifest(["a", "b"] * 20, splits=["train"] * 32 + ["test"] * 8), Split(), "class")
    assert {name: len(rows) for name, rows in divided.items()} == {"train": 28, "valid": 4, "test": 8}
    assert "4 rows drawn from train" in caplog.text


def test_whole_groups_of_given_training_clips_validate_if_there_are_four(caplog):
    """The test people are others: clips of those who train would choose a model that knows them."""
    whole = manifest(["a", "b"] * 30, groups=[f"p{i // 10}" for i in range(60)], splits=["train"] * 40 + ["test"] * 20)
    names = groups_of(split_rows(whole, Split(), "class"))
    assert {name: len(found) for name, found in names.items()} == {"train": 2, "valid": 2, "test": 2}
    assert set(names["test"]) == {"p4", "p5"}
    assert "20 rows of 2 groups drawn from train" in caplog.text
    by_clips = groups_of(split_rows(whole, Split(valid_by="stratified"), "class"))
    assert set(by_clips["valid"]) & set(by_clips["train"])
    three = whole._replace(rows=[row for row in whole.rows if row.group != "p0"])
    assert set(groups_of(split_rows(three, Split(), "class"))["valid"]) <= {"p1", "p2", "p3"}
    assert "4 rows drawn from train" in caplog.text


def test_given_splits_without_train_or_with_gaps_are_an_error():
    with pytest.raises(ValueError, match="there are no training rows"):
        split_rows(manifest("ab", splits=["test", "valid"]), Split(), "class")
    with pytest.raises(ValueError, match=r"1 of 2 rows have no split \(such as 's001'\)"):
        split_rows(manifest("ab", splits=["train", ""]), Split(), "class")


def test_heads_are_stratified_by_their_whole_label():
    divided = split_rows(manifest(["take+cup"] * 50 + ["take+plate"] * 20), Split(), "heads")
    counts = {name: Counter(row.label for row in rows) for name, rows in divided.items()}
    assert counts["train"] == {"take+cup": 35, "take+plate": 14}
    assert counts["test"] == {"take+cup": 10, "take+plate": 4}


def test_rare_pairs_are_divided_by_their_rarest_class():
    """40 nouns come once with each of ten verbs: every pair is alone, and all the same training sees each noun."""
    labels = [f"v{verb}+n{noun}" for verb in range(10) for noun in range(40)]
    divided = split_rows(manifest(labels), Split(), "heads")
    assert len(divided["valid"]) == 40
    assert len(divided["test"]) in (80, 81)  # one more, if a verb was not in it by chance
    nouns = Counter(row.label.split("+")[1] for row in divided["train"])
    assert len(nouns) == 40
    assert sorted(nouns.values())[1:] == [7] * 39


def test_only_a_class_of_one_clip_is_named_among_rare_pairs(caplog):
    """`a+x` is alone in its stratum, but both its classes have other clips; `odd` has none."""
    with caplog.at_level(logging.WARNING):
        divided = split_rows(manifest(["a+y"] * 20 + ["b+x"] * 20 + ["a+x", "a+odd"]), Split(), "heads")
    assert "s041" in members(divided)["train"]
    assert "1 class has a single clip, which goes to train: *+odd" in caplog.text


def test_rows_whose_pair_and_rarest_class_are_alone_are_divided_together():
    """Twenty nouns of three clips each: two of one verb, one of its own pair, which may be tested as well."""
    labels = [f"{verb}+n{noun}" for noun in range(20) for verb in ("take", "take", "put")]
    divided = split_rows(manifest(labels), Split(), "heads")
    alone = Counter({name: sum(row.label.startswith("put") for row in rows) for name, rows in divided.items()})
    assert alone == {"train": 14, "valid": 2, "test": 4}


@pytest.mark.parametrize("split", [Split(by="given"), Split(by="stratified"), Split(by="group", test_groups=["g1"])])
def test_what_has_validated_may_train_and_the_test_clips_stay(split):
    given = (["train"] * 3 + ["valid", "test"]) * 12
    whole = manifest(["a", "b"] * 30, groups=[f"g{i % 6}" for i in range(60)], splits=given)
    before, valid, every = (
        members(split_rows(whole, dataclasses.replace(split, refit=refit), "class"))
        for refit in ("none", "valid", "all")
    )
    assert valid == {"train": before["train"] | before["valid"], "valid": set(), "test": before["test"]}
    assert every == {"train": set().union(*before.values()), "valid": set(), "test": set()}
