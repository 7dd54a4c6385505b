"""Tasks come in, their results come out in the order they finish; a worker that crashes costs one task."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import TypeVar

from sparsefuse.memory import keep_memory

Task = TypeVar("Task")
Result = TypeVar("Result")


def cores() -> int:
    """The cores this process may use; in a container or under taskset, fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, *, waiting: Callable[[], None] | None = None
) -> Generator[tuple[Task, Result | None], None, None]:
    """Gives (task, its result) in any order; the result is None when the process that did it died.

    `jobs`: number of processes; 0 = one per core; 1 = no other process, this one. What `work` raises is raised here.
    `waiting` is called about once a second while other processes work: for progress within long tasks.
    Close the generator (`contextlib.closing`) when leaving it early: that ends tasks that have begun.
    """
    if jobs == 1:
        yield from ((task, work(task)) for task in tasks)
        return
    tasks = iter(tasks)
    jobs = jobs or cores()
    suspects: list[Task] = []
    while True:
        suspects = yield from _until_broken(work, tasks, jobs, waiting)
        if not suspects:
            return
        # A dead worker takes all tasks in flight with it; one at a time shows which of them it was.
        for task in suspects:
            yield task, _alone(work, task)


def _until_broken(
    work: Callable[[Task], Result], tasks: Iterator[Task], jobs: int, waiting: Callable[[], None] | None
) -> Generator[tuple[Task, Result | None], None, list[Task]]:
    """Runs tasks until there are none, or until a worker dies; then returns the tasks that were in flight."""
    flying: dict[Future[Result], Task] = {}
    unsent: list[Task] = []
    try:
        with _pool(jobs) as pool:
            while True:
                for task in islice(tasks, 2 * jobs - len(flying)):  # two a worker: none idles, and no endless queue
                    unsent = [task]
                    flying[pool.submit(work, task)] = task
                    unsent = []
                if not flying:
                    return []
                done = wait(flying, timeout=1 if waiting else None, return_when=FIRST_COMPLETED).done
                if waiting:
                    waiting()
                for future in done:
                    result = future.result()
                    yield flying.pop(future), result
    except BrokenProcessPool:
        return [*flying.values(), *unsent]


def _alone(work: Callable[[Task], Result], task: Task) -> Result | None:
    with _pool(1) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "worker processes cannot start: a script calls this under `if __name__ == '__main__':`, or use jobs=1"
            ) from error
        try:
            return pool.submit(work, task).result()
        except BrokenProcessPool:
            return None


@contextmanager
def _pool(jobs: int) -> Generator[ProcessPoolExecutor, None, None]:
    """Worker processes; an error or Ctrl-C ends them where they are, for a task may take an hour."""
    # Spawned, not forked: a fork of a process that has used threads (torch, FFmpeg) can hang.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start)
    try:
        yield pool
    except BaseException:
        for process in list(pool._processes.values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """A worker computes with one thread, keeps its memory, leaves Ctrl-C to its parent, and does not outlive it."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # read when torch is imported,
    if "torch" in sys.modules:  # which a user's script may have done already
        sys.modules["torch"].set_num_threads(1)
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)
