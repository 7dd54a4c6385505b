"""The generated set: what a modality shows is what its kind says."""

import itertools
from collections import Counter

import numpy as np
import pytest

from sparsefuse.data import known
from sparsefuse.files.rows import read_table
from sparsefuse.files.whole import read_json


def rows_of(manifest):
    return read_table(manifest).rows


def seen(folder, row, patterns, modality):
    """The patterns a stream shows, by nearest pattern of every token that is far from noise; and how many tokens do."""
    x = np.load(folder / row[modality])
    projections = x @ patterns.T / known.STRENGTH  # noise: N(0, 1); shown: about 6
    shown = projections.max(1) > 4.2
    return set(projections[shown].argmax(1)), int(shown.sum()), len(x)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    known.generate(folder, clips=360, parts=3, redundancy=0.25, one=0.3, both=0.2, seed=5)
    return folder


def test_clips_show_what_their_kind_says(made):
    rng = np.random.default_rng(5)
    patterns = known._patterns(6, rng)
    rows = rows_of(made / "manifest.csv")
    right = 0
    for row in rows:
        u, v = int(row["label"][1]), 3 + int(row["label"][3])
        (left, count, length), (other, _, _) = (seen(made, row, patterns, name) for name in known.LENGTHS)
        expected = {"either": [({u, v}, {u, v})], "one": [({u, v}, set()), (set(), {u, v})],
                    "both": [({u}, {v}), ({v}, {u})]}[row["kind"]]  # fmt: skip
        right += (left, other) in expected
        if left and row["kind"] != "one":
            assert abs(count - length / 4) <= 3
    assert right >= 0.97 * len(rows)  # a token of noise may look like a pattern now and then


def test_classes_kinds_and_splits_come_in_their_shares(made):
    rows = rows_of(made / "manifest.csv")
    assert Counter(row["kind"] for row in rows) == {"either": 180, "one": 108, "both": 72}
    assert Counter(row["split"] for row in rows) == {"train": 216, "valid": 54, "test": 90}
    assert set(Counter(row["label"] for row in rows).values()) == {40}


def test_the_truth_is_what_counting_cases_gives(made):
    """An observer who sees one modality's parts and guesses the rest, over all cases."""
    hits = {"either": [], "one": [], "both": []}
    for u, v in itertools.product(range(3), range(3)):
        for guess in itertools.product(range(3), range(3)):
            hits["either"].append(1.0)
            hits["one"].append(0.5 * 1 + 0.5 * ((u, v) == guess))
            hits["both"].append(0.5 * (guess[1] == v) + 0.5 * (guess[0] == u))
    alone = sum(share * np.mean(hits[kind]) for kind, share in (("either", 0.5), ("one", 0.3), ("both", 0.2)))
    assert read_json(made / "truth.json")["alone"] == pytest.approx(alone)
    assert read_json(made / "truth.json")["together"] == 1


def test_the_same_arguments_give_the_same_clips(tmp_path, made):
    again = known.generate(tmp_path, clips=360, parts=3, redundancy=0.25, one=0.3, both=0.2, seed=5)
    assert again.read_bytes() == (made / "manifest.csv").read_bytes()
    for row in rows_of(again)[:20]:
        assert (tmp_path / row["left"]).read_bytes() == (made / row["left"]).read_bytes()
    other = known.generate(tmp_path / "b", clips=360, parts=3, seed=6)
    assert (tmp_path / "b" / rows_of(other)[0]["left"]).read_bytes() != (made / rows_of(again)[0]["left"]).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"one": 0.7, "both": 0.4}, "together at most 1; got 0.7 and 0.4"),
        ({"redundancy": 0.0}, "above 0 and at most 1; got 0.0"),
        ({"clips": 20}, "got parts=3, clips=20"),
        ({"lengths": {"left": 3}}, "left and right; got left"),
    ],
)
def test_wrong_knobs_are_errors(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        known.generate(tmp_path, **options)
    assert not any(tmp_path.iterdir())
