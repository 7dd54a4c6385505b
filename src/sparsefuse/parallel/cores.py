"""The cores and threads that this process may use, whatever the machine has."""

import math
import os
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """Cores by affinity (taskset, batch systems) and by the quota of the control group (containers), rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(min(_quotas(root), default=allowed))))


def threads(jobs: int = 1) -> int:
    """Threads of each of `jobs` processes: their share of the cores, at most OMP_NUM_THREADS."""
    share, limit = max(cores() // jobs, 1), os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(share, int(limit)) if limit.isdecimal() and int(limit) else share


def share_cores() -> None:
    """Leaves a shared machine its cores: to be called before torch is imported; what the user has set stays.

    Threads that wait spin for milliseconds by default: with a neighbour on one of two cores, a step takes three to ten
    times the processor time. Those that sleep at once are a tenth slower on a machine of their own, so they spin for
    some 20 us, as long as it takes to wake up. OpenMP knows affinity, but no quota.
    """
    waits = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    if not any(name in os.environ for name in (*waits, "OMP_WAIT_POLICY")):
        os.environ |= waits
    if any(True for _ in _quotas(Path("/"))):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores()))


def _quotas(root: Path) -> list[float]:
    """Cores that this process's control group, and each above it, may use; of version 1 and 2 (cgroups(7))."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    quotas = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        mounts = [controllers, "cpu"] if "cpu" in controllers.split(",") else [] if controllers else ["."]
        for mount in mounts:
            top = root / "sys/fs/cgroup" / mount
            place = top / path.strip("/")
            for folder in (place, *place.parents):
                quotas += _quota(folder)
                if folder == top:
                    break
    return quotas


def _quota(folder: Path) -> list[float]:
    """Of one control group; empty without a limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return [int(quota) / int(period)] if int(quota) > 0 else []
    except (OSError, ValueError, ZeroDivisionError):  # not there, or "max"
        return []
