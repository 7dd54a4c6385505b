"""Whether a time can be trusted, on clocks that the tests make up: no second passes, no processor works."""

import os
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest

from sparsefuse.cost.latency import ATTEMPTS, Clock, Latency, busy_seconds, latency

CORES = os.cpu_count() or 1


class Machine:
    """A machine whose calls take given milliseconds, of which this process computes a share on `threads` cores while
    other programs keep `others` cores busy."""

    def __init__(self, times: Iterator[float], *, others: float = 0.0, share: float = 1.0, threads: int = 1):
        self.times, self.others, self.share, self.threads = times, others, share, threads
        self.now = self.own = self.machine = 0.0
        self.calls = 0

    def call(self) -> None:
        seconds = next(self.times) / 1e3
        self.calls += 1
        self.now += seconds
        self.own += seconds * self.share * self.threads
        self.machine += seconds * (self.share * self.threads + self.others)

    def clock(self, machine: Callable[[], float | None] | None = None) -> Clock:
        return Clock(lambda: self.now, lambda: self.own, machine or (lambda: self.machine))


def found(machine: Machine, runs: int = 30) -> Latency:
    return latency(machine.call, threads=machine.threads, runs=runs, seconds=0, clock=machine.clock())


def test_a_quiet_machine_is_trusted() -> None:
    # 3 to warm up; then 20, 21, ..., 49: the median is 34.5, deciles by hand 22.1 and 46.9
    quiet = found(Machine(chain([500.0] * 3, map(float, range(20, 50)))))
    assert quiet.median_ms == pytest.approx(34.5)
    assert quiet.fastest_ms == pytest.approx(20)
    assert quiet.spread_ms == pytest.approx((46.9 - 22.1) / 2)
    assert quiet.runs == 30
    assert quiet.load == pytest.approx(0)
    steady = found(Machine(repeat(1.2)))
    assert steady.doubt == ""
    assert steady.trusted_ms == steady.median_ms == pytest.approx(1.2)


def test_other_programs_on_every_core_are_named_even_if_all_runs_are_as_slow() -> None:
    """1,587 ms, the same each time, where 1.2 is the floor: neither median nor spread gives it away."""
    busy = found(Machine(repeat(1587.0), others=float(CORES)))
    assert busy.trusted_ms is None
    assert busy.load == pytest.approx(CORES)
    assert busy.doubt == f"other programs kept {CORES:.1f} of {CORES} cores busy"


def test_programs_on_cores_that_the_model_does_not_use_are_no_doubt() -> None:
    assert found(Machine(repeat(1.2), others=CORES - 1, threads=1)).doubt == ""
    assert found(Machine(repeat(1.2), others=1.0, threads=CORES)).doubt.startswith("other programs kept 1.0 of")


def test_where_the_system_does_not_tell_its_load_the_time_on_a_core_does() -> None:
    starved = Machine(repeat(1587.0), share=0.4)
    one = latency(starved.call, seconds=0, clock=starved.clock(lambda: None))
    assert one.load is None
    assert one.doubt == "the model had a core for only 40% of the time"


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ([1.0] * 2 + [2.5] * 28, "half of the runs took more than twice the fastest, 1 ms"),
        ([2.0] * 26 + [9.0] * 4, "the runs differ too much: 2 ms ± 3.5"),
    ],
)
def test_scattered_runs_are_not_trusted(times: list[float], why: str) -> None:
    assert found(Machine(chain([1.0] * 3, chain.from_iterable(repeat(times))))).doubt == why


def test_a_short_disturbance_is_measured_again_and_a_long_one_is_not() -> None:
    short = Machine(chain([1.0] * 3, [1.0, 3.0] * 15, repeat(1.0)))
    assert found(short).trusted_ms == pytest.approx(1)
    assert short.calls == 3 + 2 * 30
    lasting = Machine(repeat(1.2), others=float(CORES))
    assert found(lasting).doubt
    assert lasting.calls == 3 + ATTEMPTS * 30
    slow = Machine(repeat(50.0), others=float(CORES))
    assert found(slow).doubt
    assert slow.calls == 3 + 30, "an attempt of more than a second"


def test_runs_go_on_until_the_load_can_be_told() -> None:
    quick = Machine(repeat(1.0))
    assert latency(quick.call, runs=10, seconds=0.1, clock=quick.clock()).runs == pytest.approx(100, abs=1)


def test_the_load_is_all_time_but_idle_and_waiting_for_disks(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 9999 5000 4 5 6 70 8\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert busy_seconds(stat) == pytest.approx((100 + 20 + 30 + 4 + 5 + 6) / os.sysconf("SC_CLK_TCK"))
    assert busy_seconds(tmp_path / "none") is None
