"""Measured figures hold what they must: a clip's share of a batch, and the activations that backward needs."""

import math

import pytest

from sparsefuse.cost.measure import measure
from sparsefuse.methods import build

FEATURES = {"rgb": 6, "sound": 4, "flow": 5}
LENGTHS = {"rgb": 9, "sound": 40, "flow": 7}


@pytest.mark.filterwarnings("ignore::UserWarning:torch.profiler")
def test_measured_figures_are_positive_and_memory_grows_with_the_clips() -> None:
    model = build("late", FEATURES, 3, unimodal_depth=1, dim=10, num_heads=2)
    one = measure(model, LENGTHS, batch=2, runs=3)
    more = measure(model, LENGTHS, batch=16, runs=3)
    for found in (one, more):
        assert all(math.isfinite(value) and value > 0 for value in (*found[:2], *found[3:]))
        assert found.latency_spread_ms >= 0
    assert more.memory_mb * 16 > 4 * one.memory_mb * 2, "all clips together"
    assert more.memory_mb < 1.2 * one.memory_mb, "per clip, with a smaller share of the weights' gradients"
    longer = measure(model, {name: 4 * n for name, n in LENGTHS.items()}, batch=2, runs=3)
    assert longer.memory_mb > 3 * one.memory_mb


def test_memory_holds_at_least_the_activations_that_backward_needs() -> None:
    """The score of one layer alone: B H N N floats."""
    model = build("unimodal", {"rgb": 5}, 3, unimodal_depth=1, dim=10, num_heads=2)
    found = measure(model, {"rgb": 300}, batch=4, runs=2)
    assert found.memory_mb > 300 * 10 * 4 * 6 / 1e6
