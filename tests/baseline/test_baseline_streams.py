"""Groups take turns, and say which streams help."""

import logging
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.baseline.streams import streams_that_help
from sparsefuse.config import Config
from sparsefuse.data.clips import Clips, load_clips
from sparsefuse.files.rows import write_table

PAIR, ALL = frozenset(["a", "b"]), frozenset(["a", "b", "bad"])
SETS = [frozenset(["a"]), PAIR, ALL]


def clips(folder: Path, groups: int, *, odd: float) -> Clips:
    """Two classes that `a` and `b` tell, each half of the time; `bad` tells them by signs that each person has, and
    that is `odd` times as large."""
    rng, rows = np.random.default_rng(0), []
    for group in range(groups):
        signs = rng.choice([-1, 1], 8)
        for i in range(24):
            label = i % 2
            told = rng.integers(2)
            streams = {
                "a": rng.normal(0, 1, (6, 1)) + 4 * label * told,
                "b": rng.normal(0, 1, (6, 1)) + 4 * label * (1 - told),
                "bad": rng.normal(0, 0.1, (6, 8)) + odd * signs * (2 * label - 1),
            }
            for name, x in streams.items():
                np.save(folder / f"{name}{group}-{i}.npy", x.astype(np.float32))
            split = ("train", "valid")[group == 0]
            files = {name: f"{name}{group}-{i}.npy" for name in streams if (name, i) != ("bad", 3)}
            rows.append({"id": f"{group}-{i}", "a": "", "b": "", "bad": "", "label": "xy"[label], "split": split,
                         "group": f"p{group}", **files})  # fmt: skip
    config = Config.load(data={"manifest": str(write_table(folder / "m.csv", rows))})
    return load_clips(config.data, Path())


@pytest.mark.slow
def test_a_stream_that_misleads_on_people_who_were_not_seen_is_left_out(tmp_path: Path) -> None:
    gain = streams_that_help(clips(tmp_path, 5, odd=1.0), SETS, seed=0)
    assert gain is not None
    assert gain.best == PAIR
    assert gain.shares[PAIR] > gain.shares[ALL] + 0.1
    assert gain.shares[PAIR] > gain.shares[frozenset(["a"])]


@pytest.mark.slow
def test_one_that_adds_nothing_is_left_out_and_one_that_helps_stays(tmp_path: Path) -> None:
    gain = streams_that_help(clips(tmp_path, 5, odd=0.0), SETS, seed=0)
    assert gain is not None
    assert gain.best == PAIR


def test_of_two_groups_nothing_is_said(tmp_path: Path) -> None:
    logging.disable(logging.WARNING)
    two = clips(tmp_path, 2, odd=1.0)
    logging.disable(logging.NOTSET)
    assert streams_that_help(two, SETS, seed=0) is None
