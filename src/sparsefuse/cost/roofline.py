"""The roofline of a device, measured: its peak rate of matrix products and its memory bandwidth.

Together they bound the time of any model: no implementation is faster than its multiply-adds at the one rate, or its
inputs and weights at the other, whichever takes longer.
"""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch

ROUNDS = 5
"""The best of this many runs, so that other load does not count."""


class Machine(NamedTuple):
    """A device's measured rates, in float32."""

    macs_per_second: float
    """multiply-adds of a large matrix product"""
    bytes_per_second: float
    """bytes read and written by a copy that no cache holds"""

    def floor_ms(self, macs: int, moved: int) -> float:
        """The least time for `macs` multiply-adds over `moved` bytes."""
        return 1e3 * max(macs / self.macs_per_second, moved / self.bytes_per_second)


@lru_cache
def machine(device: torch.device, threads: int) -> Machine:
    """Measures `device`, once per process and number of `threads` (torch.get_num_threads())."""
    with torch.autocast(device.type, enabled=False):
        return _machine(device)


def _machine(device: torch.device) -> Machine:
    size, count = (8192, 2**28) if device.type == "cuda" else (1024, 2**25)
    a, b = torch.randn(2, size, size, device=device).unbind()
    c = torch.empty_like(a)
    macs = size**3 / min(seconds(lambda: torch.mm(a, b, out=c), device, ROUNDS))
    source = torch.ones(count, device=device)
    target = torch.empty_like(source)
    return Machine(macs, 2 * source.nbytes / min(seconds(lambda: target.copy_(source), device, ROUNDS)))


def seconds(run: Callable[[], object], device: torch.device, runs: int, *, warmup: int = 1) -> list[float]:
    """Seconds of each of `runs` calls, until the device is done; `warmup` calls come first."""
    times = []
    for _ in range(warmup + runs):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return times[warmup:]
