"""The time of one call: a function in; its median, fastest and spread out, the machine's load, and whether they can be
trusted. Needs no torch, so that a process of a few megabytes can be measured too.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

RUNS = 30
SECONDS = 0.3
"""Calls go on for so long at least: the system counts its cores' time in steps of 0.01 s."""
ATTEMPTS = 3
"""A short disturbance passes; but attempts that take over a second are not repeated."""


@dataclass(frozen=True)
class Latency:
    """The time of one call."""

    median_ms: float
    fastest_ms: float
    """the floor of what was seen"""
    spread_ms: float
    """half the distance between the 10th and the 90th percentile"""
    runs: int
    load: float | None
    """cores that other programs kept busy meanwhile; None where the system does not say"""
    doubt: str = ""
    """why the median cannot be trusted; empty if it can"""

    @property
    def trusted_ms(self) -> float | None:
        """The median, if it can be trusted."""
        return None if self.doubt else self.median_ms


class Clock(NamedTuple):
    """Where times come from, in seconds."""

    wall: Callable[[], float] = time.perf_counter
    own: Callable[[], float] = time.process_time
    """processor time of this process"""
    machine: Callable[[], float | None] = lambda: busy_seconds()
    """processor time of all processes"""


def latency(
    run: Callable[[], object],
    *,
    threads: int = 1,
    runs: int = RUNS,
    seconds: float = SECONDS,
    clock: Clock = Clock(),  # noqa: B008 - it is a constant
) -> Latency:
    """The time of `run`, which computes with `threads` threads, after a warm-up. What cannot be trusted is measured
    again, up to `ATTEMPTS` times in all."""
    for _ in range(3):
        run()
    found = _attempt(run, threads, runs, seconds, clock)
    for _ in range(ATTEMPTS - 1):
        if found.doubt and found.runs * found.median_ms < 1000:
            found = _attempt(run, threads, runs, seconds, clock)
    return found


def _attempt(run: Callable[[], object], threads: int, runs: int, seconds: float, clock: Clock) -> Latency:
    times: list[float] = []
    own, machine, start = clock.own(), clock.machine(), clock.wall()
    before = start
    while len(times) < runs or before - start < seconds:
        run()
        now = clock.wall()
        times.append(1e3 * (now - before))
        before = now
    own, whole, busy = clock.own() - own, before - start, clock.machine()
    load = None if machine is None or busy is None else max(busy - machine - own, 0) / whole
    deciles = statistics.quantiles(times, n=10)
    found = Latency(statistics.median(times), min(times), (deciles[-1] - deciles[0]) / 2, len(times), load)
    return replace(found, doubt=_doubt(found, own / whole, threads))


def _doubt(found: Latency, share: float, threads: int) -> str:
    cores = os.cpu_count() or 1
    if found.load is not None and found.load > max(cores - threads, 0) + 0.25:
        return f"other programs kept {found.load:.1f} of {cores} cores busy"
    if share < 0.75:
        return f"the model had a core for only {share:.0%} of the time"
    if found.median_ms > 2 * found.fastest_ms:
        return f"half of the runs took more than twice the fastest, {found.fastest_ms:.3g} ms"
    if found.spread_ms > found.median_ms / 2:
        return f"the runs differ too much: {found.median_ms:.3g} ms ± {found.spread_ms:.3g}"
    return ""


def busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """Processor time of all cores since the system started, what a hypervisor took included; None without Linux."""
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
