"""Statistics against cases worked out by hand and loops that are plain."""

import itertools

import numpy as np
import pytest

from sparsefuse.runs.statistics import (
    Interval,
    all_of,
    area,
    calibration_error,
    gain,
    interval,
    no_loss,
    reliability,
    resampled,
    small,
)


def test_resampling_two_seeds_and_two_clips_gives_all_sixteen_studies():
    """Seeds {0,1}, clips {0,1}: every (ordered) pair of each is drawn as often; means by hand, over all cases."""
    hits = np.array([[1.0, 0.0], [1.0, 1.0]])
    cases = [
        np.mean([hits[s, c] for s in seeds for c in clips])
        for seeds in itertools.product((0, 1), repeat=2)
        for clips in itertools.product((0, 1), repeat=2)
    ]
    found = resampled({"a": hits}, draws=40_000)["a"]
    for value in set(cases):
        assert np.mean(np.isclose(found, value)) == pytest.approx(cases.count(value) / 16, abs=0.01)


def test_all_names_meet_the_same_seeds_and_clips():
    rng = np.random.default_rng(0)
    hits = (rng.random((3, 20)) < 0.5).astype(float)
    found = resampled({"a": hits, "b": 1 - hits}, draws=100)
    assert np.allclose(found["a"] + found["b"], 1)


@pytest.mark.slow
def test_the_spread_is_that_of_a_known_mean():
    """One seed: clips alone vary, and the deviation of a mean of n draws is sqrt(p (1 - p) / n)."""
    hits = np.repeat([[1.0, 0.0]], 200, axis=1).reshape(1, -1)
    found = resampled({"a": hits}, draws=20_000)["a"]
    assert found.std() == pytest.approx(np.sqrt(0.25 / 400), rel=0.03)


def test_shapes_that_differ_are_no_pair():
    with pytest.raises(ValueError):
        resampled({"a": np.ones((2, 3)), "b": np.ones((2, 4))})


def test_an_interval_holds_the_middle_95_percent():
    found = interval(0.5, np.arange(1001) / 1000)
    assert found == pytest.approx((0.5, 0.025, 0.975))


@pytest.mark.parametrize(
    ("judge", "low", "high", "verdict"),
    [
        (gain, 0.01, 0.03, "holds"),
        (gain, -0.01, 0.03, "undecided"),
        (gain, -0.01, 0.019, "does not hold"),
        (no_loss, -0.019, -0.001, "holds"),
        (no_loss, -0.03, 0.01, "undecided"),
        (no_loss, -0.05, -0.021, "does not hold"),
        (small, 0.001, 0.019, "holds"),
        (small, 0.001, 0.021, "undecided"),
        (small, 0.021, 0.05, "does not hold"),
    ],
)
def test_verdicts_at_a_margin_of_two_points(judge, low, high, verdict):
    assert judge(Interval((low + high) / 2, low, high), 0.02) == verdict


def test_a_claim_in_parts_needs_all_of_them():
    assert all_of(["holds", "holds"]) == "holds"
    assert all_of(["holds", "undecided"]) == "undecided"
    assert all_of(["undecided", "does not hold"]) == "does not hold"


def test_calibration_of_four_clips_by_hand():
    """Bins of 1/2: {.2: right, .4: wrong} and {.6: right, 1: right}."""
    bins = reliability(np.array([0.2, 0.6, 0.4, 1.0]), np.array([1, 1, 0, 1]), bins=2)
    assert bins == [(2, pytest.approx(0.3), 0.5), (2, pytest.approx(0.8), 1.0)]
    assert calibration_error(bins) == pytest.approx((2 * 0.2 + 2 * 0.2) / 4)


def test_bins_without_clips_are_left_out():
    assert len(reliability(np.array([0.05, 0.95]), np.array([0, 1]))) == 2


def test_area_of_a_bent_line():
    assert area([0.0, 1.0, 4.0], [1.0, 0.5, 0.5]) == pytest.approx((0.75 + 1.5) / 4)
