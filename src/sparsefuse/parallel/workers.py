"""Runs tasks in worker processes and yields results as they finish; a crash or a hang costs one task."""

import atexit
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from sparsefuse.parallel.cores import cores, share_cores
from sparsefuse.parallel.memory import keep_memory

Task = TypeVar("Task")
Result = TypeVar("Result")


def each(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    jobs: int,
    *,
    waiting: Callable[[], None] | None = None,
    begin: Callable[[], None] | None = None,
    timeout: float = math.inf,
    late: Result | None = None,
) -> Generator[tuple[Task, Result | None], None, None]:
    """Yields (task, its result) in any order; the result is None if the task's process died.

    `jobs`: number of processes; 0 = one per core; 1 = this process alone, without a time-out. Exceptions of `work`
    are raised here. `waiting` is called about once a second while other processes work: for progress within long
    tasks. `begin` is called once in a process before its first task. A task that takes longer than `timeout` seconds is
    killed with its process, and its result is `late`.
    Close the generator (`contextlib.closing`) when leaving it early: that kills tasks that have begun.
    """
    if jobs == 1:
        if begin:
            begin()
        yield from ((task, work(task)) for task in tasks)
        return
    pool = _Pool[Task, Result]((work, begin), jobs or cores(), timeout, late)
    try:
        yield from pool.run(iter(tasks), waiting)
    finally:
        pool.end()


class _Pool(Generic[Task, Result]):
    """Worker processes, each with a pipe and one task at a time, so that the task of a dead process is known."""

    def __init__(self, setup: "_Setup", jobs: int, timeout: float, late: Result | None) -> None:
        self._setup, self._jobs, self._timeout, self._late = setup, jobs, timeout, late
        self._workers: list[_Worker] = []

    def run(
        self, tasks: Iterator[Task], waiting: Callable[[], None] | None
    ) -> Generator[tuple[Task, Result | None], None, None]:
        """As `each`."""
        while True:
            self._hand_out(tasks)
            busy = [worker for worker in self._workers if worker.busy]
            if not busy:
                return
            left = min(worker.deadline for worker in busy) - time.monotonic()
            left = max(0.0, min(left, 1.0 if waiting else math.inf))
            ready = wait([worker.pipe for worker in busy], None if left == math.inf else left)
            if waiting:
                waiting()
            for worker in busy:
                task = worker.task
                if worker.pipe in ready:
                    answer = self._receive(worker)
                    if worker.busy:  # it has begun
                        continue
                elif time.monotonic() >= worker.deadline:
                    self._remove(worker)
                    answer = self._late
                else:
                    continue
                yield task, answer

    def end(self) -> None:
        """Kills all processes at once, as a task may take an hour."""
        for worker in list(self._workers):
            self._remove(worker)

    def _hand_out(self, tasks: Iterator[Task]) -> None:
        """Gives every idle worker a task; starts more workers while there are tasks and fewer than `jobs`."""
        while True:
            idle = [worker for worker in self._workers if not worker.busy]
            if not idle and len(self._workers) >= self._jobs:
                return
            task: Any = next(tasks, _NOTHING)
            if task is _NOTHING:
                return
            if not idle:
                idle = [_Worker(self._setup, task)]
                self._workers += idle
            idle[0].give(task, self._timeout)

    def _receive(self, worker: "_Worker") -> Any:
        """The result of the worker's task; None if the worker died. Exceptions of the task are raised here."""
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError) as error:
            self._remove(worker)
            if worker.begun:
                return None
            raise RuntimeError(
                "worker processes cannot start: they call a function of the script, which must then call this under "
                "`if __name__ == '__main__':`; or use jobs=1"
            ) from error
        if kind == "begun":
            worker.begun, worker.deadline = True, time.monotonic() + self._timeout
            return None
        worker.task, worker.deadline = _NOTHING, math.inf
        if kind == "error":
            raise value
        return value

    def _remove(self, worker: "_Worker") -> None:
        worker.end()
        self._workers.remove(worker)


_Setup = tuple[Callable[[Any], Any], Callable[[], None] | None]  # work, begin
_NOTHING: Any = object()


def _names_script(values: object) -> bool:
    """Whether a function or class among them is of the script that Python was called with, or of a notebook."""
    return b"__main__" in ForkingPickler.dumps(values).tobytes()


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Processes that start meanwhile do not run the script, which else needs `if __name__ == "__main__":`."""
    names = vars(sys.modules["__main__"])
    before = {name: names[name] for name in ("__spec__", "__file__") if name in names}
    names["__spec__"] = None
    names.pop("__file__", None)
    try:
        yield
    finally:
        names.update(before)


class _Worker:
    """One process, and the task it has."""

    def __init__(self, setup: _Setup, task: Any) -> None:
        # Spawned, not forked: a fork of a process that has used threads (torch, FFmpeg) can hang.
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,))
        with nullcontext() if _names_script((setup, task)) else _script_hidden():
            self.process.start()
        atexit.register(self.process.terminate)  # else Python waits for it if the generator is not closed
        theirs.close()
        self.task, self.deadline, self.begun = _NOTHING, math.inf, False
        self._send(setup)

    @property
    def busy(self) -> bool:
        """Whether it has a task."""
        return self.task is not _NOTHING

    def give(self, task: Any, timeout: float) -> None:
        """Sends the next task; the time-out of the first one starts when the process is ready."""
        self.task = task
        if self.begun:
            self.deadline = time.monotonic() + timeout
        self._send(task)

    def end(self) -> None:
        """Kills the process."""
        self.task, self.deadline = _NOTHING, math.inf
        self.pipe.close()
        self.process.terminate()
        self.process.join(5)
        self.process.kill()
        self.process.join()
        atexit.unregister(self.process.terminate)

    def _send(self, what: Any) -> None:
        with suppress(OSError):  # the process is dead: reading from the pipe says so
            self.pipe.send(what)


def _serve(pipe: "Connection[Any, Any]") -> None:
    """The loop of a worker process: receives `work` and `begin`, then tasks, and sends a result for each."""
    _start()
    work, begin = pipe.recv()
    if begin:
        begin()
    pipe.send(("begun", None))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            answer = "result", work(task)
        except BaseException as error:
            error.add_note("".join(traceback.format_exception(error)))
            answer = "error", error
        pipe.send(answer)


def _start() -> None:
    """Sets up a worker: one thread, freed memory kept, Ctrl-C left to the parent, and it ends with the parent."""
    share_cores()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # read when torch is imported,
    os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
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
