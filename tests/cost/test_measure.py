"""Measured figures hold what they must: a clip's share of a batch, and the activations that backward needs."""

import math

import pytest
import torch

from sparsefuse.cost import measure as measuring
from sparsefuse.cost.latency import Latency
from sparsefuse.cost.measure import measure
from sparsefuse.cost.table import Measuring, ledger, show
from sparsefuse.methods import build

FEATURES = {"rgb": 6, "sound": 4, "flow": 5}
LENGTHS = {"rgb": 9, "sound": 40, "flow": 7}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:torch.profiler")
def test_measured_figures_are_positive_and_memory_grows_with_the_clips() -> None:
    model = build("late", FEATURES, 3, unimodal_depth=1, dim=10, num_heads=2)
    one = measure(model, LENGTHS, batch=2, runs=3)
    more = measure(model, LENGTHS, batch=16, runs=3)
    for found in (one, more):
        numbers = [found.memory_mb, found.floor_ms, found.batch_floor_ms, found.batch, found.fastest_ms]
        times = [found.latency_ms, found.batch_ms, found.train_ms]  # None on a busy machine
        assert all(math.isfinite(value) and value > 0 for value in (*numbers, *(t for t in times if t is not None)))
        assert bool(found.doubt) == (None in times)
    assert more.memory_mb * 16 > 4 * one.memory_mb * 2, "all clips together"
    assert more.memory_mb < 1.2 * one.memory_mb, "per clip, with a smaller share of the weights' gradients"
    longer = measure(model, {name: 4 * n for name, n in LENGTHS.items()}, batch=2, runs=3)
    assert longer.memory_mb > 3 * one.memory_mb


@pytest.mark.slow
def test_memory_holds_at_least_the_activations_that_backward_needs() -> None:
    """The score of one layer alone: B H N N floats."""
    model = build("unimodal", {"rgb": 5}, 3, unimodal_depth=1, dim=10, num_heads=2)
    found = measure(model, {"rgb": 300}, batch=4, runs=2)
    assert found.memory_mb > 300 * 10 * 4 * 6 / 1e6


def test_what_was_measured_says_with_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "latency", lambda *_, **__: Latency(8.0, 8.0, 0.1, 30, 0.1))
    monkeypatch.setattr(measuring, "cores", lambda: 8)
    model, threads = build("late", FEATURES, 3, unimodal_depth=1, dim=10, num_heads=2), torch.get_num_threads()
    try:
        for count, said in ((1, "1 thread"), (2, "2 threads")):
            torch.set_num_threads(count)
            assert measure(model, LENGTHS, batch=1).where == f"8 CPU cores, {said}, torch {torch.__version__}"
    finally:
        torch.set_num_threads(threads)


def test_a_time_that_cannot_be_trusted_is_a_dash_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "other programs kept 1.6 of 2 cores busy"
    found = iter([Latency(1587.0, 1.2, 900.0, 30, 1.6, reason), *[Latency(8.0, 8.0, 0.1, 30, 0.1)] * 2])
    monkeypatch.setattr(measuring, "latency", lambda *_, **__: next(found))
    rows = ledger(["late"], {"rgb": 4}, {"rgb": 3}, 2, {"late": {"dim": 10, "num_heads": 2}}, measuring=Measuring())
    assert rows[0].measured is not None
    assert rows[0].measured[1:5] == (None, None, 1.0, 1.0)  # 8 ms for 8 clips
    assert rows[0].measured.fastest_ms == 1.2
    show(rows, as_json=False)
    shown = capsys.readouterr().out
    assert "1587" not in shown
    line = [cells for line in shown.splitlines() if "late" in (cells := line.split())][1]
    assert [cell for cell in line if cell[0] in "-.0123456789"][:4] == ["-", "-", "-", "1.00"]
    assert f"-: cannot be trusted (late: {reason}); run this again on a quiet machine." in shown


def test_on_a_gpu_every_timed_call_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: order.append(str(device)))
    measuring._latency(lambda: order.append("run"), torch.device("cuda:0"), 4)
    assert len(order) > 8
    assert order == ["run", "cuda:0"] * (len(order) // 2)


def test_costs_are_measured_in_the_batch_and_precision_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(model, lengths, *, batch):
        seen.append((batch, torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return

    monkeypatch.setattr("sparsefuse.cost.table.measure", look)
    ledger(["late"], {"a": 3}, {"a": 2}, 3, {}, measuring=Measuring("cpu", 5, "bfloat16"))
    ledger(["late"], {"a": 3}, {"a": 2}, 3, {}, measuring=Measuring())
    assert seen[0] == (5, True, torch.bfloat16)
    assert seen[1][:2] == (8, False)
    with pytest.raises(ValueError, match="batch is 0, expected 1 or more"):
        ledger(["late"], {"a": 3}, {"a": 2}, 3, {}, measuring=Measuring(batch=0))
