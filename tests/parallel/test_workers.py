"""Every task is done once, whatever happens to the process that does it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sparsefuse.parallel.workers import each


def double(number: int) -> int:
    return 2 * number


def double_or_die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * number


def refuse(number: int) -> int:
    raise OSError(28, "full", str(number))


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_is_done_once(jobs: int) -> None:
    assert sorted(each(double, range(9), jobs)) == [(n, 2 * n) for n in range(9)]


def test_no_task_is_no_work() -> None:
    assert list(each(double, [], 2)) == []


def test_a_dead_worker_costs_one_task() -> None:
    assert dict(each(double_or_die, range(8), 2)) == {n: None if n == 3 else 2 * n for n in range(8)}


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(OSError, match="full") as caught:
        list(each(refuse, range(50), 2))
    assert caught.value.errno == 28


def wait_or_refuse(number: int) -> int:
    time.sleep(60 * (number == 0))
    raise OSError(28, "full")


def wait_long(number: int) -> int:
    time.sleep(60 * number)
    return number


def test_an_error_ends_the_tasks_that_have_begun() -> None:
    start = time.monotonic()
    with pytest.raises(OSError, match="full"):
        list(each(wait_or_refuse, range(2), 2))
    assert time.monotonic() - start < 30


def test_an_error_of_the_caller_ends_the_tasks_that_have_begun() -> None:
    """Such as Ctrl-C while it looks at a result (which closes the generator), or within `waiting`."""

    def stop() -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with closing(each(wait_long, range(2), 2)) as results:
        assert next(results) == (0, 0)
    with pytest.raises(KeyboardInterrupt):
        list(each(wait_long, [1, 2], 2, waiting=stop))
    assert time.monotonic() - start < 30


SCRIPT = """
import os, sys, time
from pathlib import Path
from sparsefuse.parallel.workers import each

def note_then_wait(folder):
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)

if __name__ == "__main__":
    list(each(note_then_wait, [sys.argv[1]], 2))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)])
    deadline = time.monotonic() + 30
    while not (pids := list(tmp_path.glob("*.pid"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    worker = Path(f"/proc/{pids[0].stem}")
    while worker.exists() and "zombie" not in (worker / "status").read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not worker.exists() or "zombie" in (worker / "status").read_text()


def run_script(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    text = "\n".join(["from sparsefuse.parallel.workers import each", *lines])
    (folder / "script.py").write_text(text)
    return subprocess.run([sys.executable, str(folder / "script.py")], capture_output=True, text=True, check=False)


def test_a_script_needs_no_main_guard_and_runs_once(tmp_path: Path) -> None:
    ended = run_script(tmp_path, "print('begins')", "print(sorted(each(abs, [1, -2], 2)), __file__, __spec__)")
    assert (ended.stdout, ended.stderr) == (f"begins\n[(-2, 2), (1, 1)] {tmp_path / 'script.py'} None\n", "")


def test_a_script_whose_own_function_is_called_needs_a_main_guard(tmp_path: Path) -> None:
    own = "def own(task):\n    return -task\n"
    ended = run_script(tmp_path, own, "list(each(own, [1], 2))")
    assert ended.returncode == 1
    assert "`if __name__ == '__main__':`" in ended.stderr.splitlines()[-1]
    ended = run_script(tmp_path, own, "if __name__ == '__main__':", "    print(list(each(own, [1], 2)))")
    assert (ended.stdout, ended.stderr) == ("[(1, -1)]\n", "")


def hang_at_three(number: int) -> int:
    time.sleep(60 * (number == 3))
    return 2 * number


@pytest.mark.slow
def test_a_task_that_takes_too_long_is_ended_alone() -> None:
    start = time.monotonic()
    found = dict(each(hang_at_three, range(8), 2, timeout=1, late=-1))
    assert found == {n: -1 if n == 3 else 2 * n for n in range(8)}
    assert time.monotonic() - start < 30


def slow_start() -> None:
    time.sleep(0.6)
    os.environ["BEGUN"] = str(os.getpid())


def begun(number: int) -> bool:
    return os.environ.get("BEGUN") == str(os.getpid())


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_process_does_first_takes_no_task_s_time(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEGUN", "")
    assert dict(each(begun, range(3), jobs, begin=slow_start, timeout=0.5, late=False)) == dict.fromkeys(range(3), True)


def fail_deep(number: int) -> int:
    return int("no number")


def test_an_error_says_where_in_the_worker_it_arose() -> None:
    with pytest.raises(ValueError, match="no number") as caught:
        list(each(fail_deep, [1], 2))
    assert "in fail_deep" in "".join(caught.value.__notes__)
