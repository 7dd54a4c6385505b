"""Edges and quartiles of small columns, counted by hand, and the rules of `check` that use them."""

import numpy as np
import pytest

from sparsefuse.config import Data
from sparsefuse.data.check import check
from sparsefuse.data.values import NARROW, summed


def test_quartiles_edges_and_runs_are_those_counted_by_hand() -> None:
    column = np.array([5, 1, 1, 1, 3, 1, 7, 7], np.float32)
    found = summed(np.column_stack([column, np.arange(8)]).astype(np.float32))
    np.testing.assert_array_equal(found.quartiles, [[1, 2], [3, 4], [7, 6]])
    assert [edge[0].item() for edge in found.low] == [1, 4, 3, 3, 1]
    assert [edge[0].item() for edge in found.high] == [7, 2, 2, 5, 1]
    assert [edge[1].item() for edge in found.high] == [7, 1, 1, 6, 1]
    assert found.kinds.tolist() == [4, 8]
    assert found.rising.tolist() == [False, False]  # eight may do so by chance
    assert summed(np.arange(10, dtype=np.float32)[:, None]).rising.tolist() == [True]
    flat = summed(np.full((4, 1), 2, np.float32))
    assert [edge.item() for edge in flat.low] == [2, 4, 4, 2, 4]


def test_wide_features_are_one_column_that_misses_no_extreme() -> None:
    values = np.random.default_rng(0).normal(size=(2000, NARROW + 1)).astype(np.float32)
    values[1234, 5] = -1e6
    found = summed(values)
    assert found.low.value.tolist() == [-1e6]
    np.testing.assert_allclose(found.quartiles[:, 0], [-0.674, 0, 0.674], atol=0.03)


def made(num: int = 20, tokens: int = 200, width: int = 3) -> list[dict]:
    """Walks: neighbours are alike, as readings are."""
    rng = np.random.default_rng(0)
    rows = [{"id": f"s{i}", "label": "xy"[i % 2], "a": rng.normal(size=(tokens, width))} for i in range(num)]
    for row in rows:
        row["a"] = np.apply_along_axis(np.convolve, 0, row["a"], np.ones(8) / 8, "same")
    return rows


def messages(clips, rows: list[dict]) -> list[tuple[str, str]]:
    manifest = clips(rows)
    kinds = ("rising", "extreme", "sentinel", "saturated")
    found = check(Data(manifest="manifest.csv"), manifest.root, jobs=1).problems
    return [(problem.kind, problem.message) for problem in found if problem.kind in kinds]


def test_readings_that_vary_are_fine(clips) -> None:
    rows = made()
    for i, row in enumerate(rows):
        row["a"][:, 0] *= 1 + i  # some clips reach ten times as far
        row["a"][:, 1] = np.round(row["a"][:, 1], 1)  # of low resolution
        row["a"][:, 2] = row["a"][:, 2] > 0  # a button
    assert messages(clips, rows) == []


@pytest.mark.parametrize("width", [3, 40])
def test_one_value_far_off_is_extreme_in_its_clip_alone(clips, width: int) -> None:
    rows = made(width=width)
    rows[3]["a"][17, 1] = 100
    ((kind, message),) = messages(clips, rows)
    assert kind == "extreme"
    assert message.startswith(
        "sample s3: a, column 1, has 100; the median" if width == 3 else "sample s3: a has 100; the"
    )


@pytest.mark.parametrize("share", [0.02, 0.4, 0.8])
@pytest.mark.parametrize("value", [-9999, 999, 1000])  # 1000 is no usual one, but comes again and again
def test_a_number_for_no_value_is_named_however_often_it_comes(clips, share: float, value: int) -> None:
    rows = made()
    for row in rows[::2]:
        row["a"][: int(200 * share), 2] = value
    ((kind, message),) = messages(clips, rows)
    assert kind == "sentinel"
    assert message.startswith(f"a: column 2 is {value} {int(200 * share) * 10} times in 10 clips (s0, s2, ")


def test_a_column_that_stays_at_its_limits_is_saturated(clips) -> None:
    rows = made()
    for row in rows:
        row["a"][:, 0] = np.clip(row["a"][:, 0], -0.4, 9)
    rows[4]["a"][:, 1] = np.clip(row["a"][:, 1], -0.3, 0.3)  # in one clip, at both ends
    found = messages(clips, rows)
    assert [(kind, message.split(", in ")[0]) for kind, message in found] == [
        ("saturated", "a: column 0 stays at -0.4, its lowest value"),
        ("saturated", "a: column 1 stays at -0.3, its lowest value"),
        ("saturated", "a: column 1 stays at 0.3, its highest value"),
    ]


def test_a_clock_among_features_is_named(clips) -> None:
    rows = made()
    for i, row in enumerate(rows):
        row["a"][:, 1] = 1e6 * i + np.arange(200)
    assert messages(clips, rows) == [("rising", "a: column 1 rises in every clip")]
