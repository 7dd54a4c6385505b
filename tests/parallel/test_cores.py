"""Cores and threads are what this process may use: made control groups, environments and processes in, numbers out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparsefuse.config import Config, Data
from sparsefuse.experiments import grid
from sparsefuse.parallel import cores as module
from sparsefuse.parallel.cores import cores, share_cores, threads
from sparsefuse.parallel.workers import each

V2, V1 = "0::/pod/box\n", "5:memory:/x\n4:cpu,cpuacct:/pod/box\n0::/\n"


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has 64 cores, of which this process may use eight."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def machine(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """A root folder with these groups of the process and these files of limits."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in limits.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        (V2, {"pod/box/cpu.max": "200000 100000\n"}, 2),
        (V2, {"pod/box/cpu.max": "150000 100000\n"}, 2),
        (V2, {"pod/box/cpu.max": "1000 100000\n"}, 1),
        (V2, {"pod/box/cpu.max": "max 100000\n"}, 8),
        (V2, {"pod/box/cpu.max": "max 100000\n", "pod/cpu.max": "300000 100000\n"}, 3),  # of a group above it
        (V2, {"pod/box/cpu.max": "9900000 100000\n"}, 8),  # more than affinity allows
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),  # within a container that sees its own group as the root
        (
            V1,
            {"cpu,cpuacct/pod/box/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/pod/box/cpu.cfs_period_us": "50000\n"},
            5,
        ),
        (V1, {"cpu,cpuacct/pod/box/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/pod/box/cpu.cfs_period_us": "50000\n"}, 8),
        (
            V1,
            {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),  # the host's path, not there
        ("nonsense", {"cpu.max": "100000 100000\n"}, 8),
    ],
)
def test_cores_are_those_of_affinity_and_quota(tmp_path: Path, groups: str, limits: dict, expected: int) -> None:
    assert cores(machine(tmp_path, groups, limits)) == expected


def test_without_control_groups_cores_are_those_of_affinity(tmp_path: Path) -> None:
    assert cores(tmp_path) == 8


@pytest.mark.parametrize(
    ("variable", "jobs", "expected"),
    [(None, 1, 8), (None, 3, 2), (None, 16, 1), ("1", 1, 1), ("2", 1, 2), ("2", 8, 1), ("3,2", 1, 3), ("no", 2, 4)],
)
def test_threads_are_a_share_of_the_cores_and_at_most_what_the_user_says(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, jobs: int, expected: int
) -> None:
    monkeypatch.setattr(module, "_quotas", lambda root: [])
    without(monkeypatch, "OMP_NUM_THREADS")
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads(jobs) == expected


def test_cells_of_a_grid_have_no_more_threads_than_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(module, "_quotas", lambda root: [])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    cells = grid.grid(
        Config(data=Data(manifest="m.csv")), [grid.Variant("late", "late", {})], [0], tmp_path, root=tmp_path
    )
    given = []

    def engine(work, cells, jobs, **_):
        given.extend(cell.threads for cell in cells)
        yield from ()

    monkeypatch.setattr(grid, "_engine", lambda name: engine)
    grid.run(cells, jobs=1)
    grid.run(cells, jobs=1, engine="ray")  # a task has one processor of whatever machine
    assert given == [3, 1]


WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Takes variables out of the environment; at the end of the test all is as before, even if the test sets them."""
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def environment_of(_: int) -> dict[str, str]:
    return {name: os.environ.get(name, "") for name in ("OMP_NUM_THREADS", *WAITS)}


@pytest.mark.slow
def test_threads_of_workers_spin_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, *WAITS)
    ((_, found),) = each(environment_of, [0], 2)
    assert found == {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")  # what the user says stays
    ((_, found),) = each(environment_of, [0], 2)
    assert [found[name] for name in WAITS] == ["active", "", ""]


@pytest.mark.parametrize(("quotas", "expected"), [([2.0], "2"), ([], None)])
def test_a_quota_limits_threads_of_this_process(monkeypatch, quotas: list[float], expected: str | None) -> None:
    without(monkeypatch, "OMP_NUM_THREADS", *WAITS)
    monkeypatch.setattr(module, "_quotas", lambda root: quotas)
    share_cores()
    assert os.environ.get("OMP_NUM_THREADS") == expected
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


def test_the_command_line_shares_cores_before_torch_is_there() -> None:
    script = (
        "import sys, os; from sparsefuse.cli import app; sys.argv = ['sparsefuse', 'env'];"
        "app.share_cores = lambda: print('torch' in sys.modules); app.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "False"
