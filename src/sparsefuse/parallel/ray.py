"""`workers.each` on a Ray cluster: runs tasks and yields their results in the order they finish."""

import logging
import math
import os
import signal
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any, TypeVar

from sparsefuse.extras import need

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
    """As `workers.each`; `jobs` tasks are in flight, one processor each, on whatever machines the cluster has; 0 = as
    many as it has processors.

    Joins the cluster that RAY_ADDRESS names, or starts one on this machine. The machines must share the file system
    that the tasks write to. Raises ImportError without the `ray` extra.
    """
    ray = _joined()
    jobs = jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))
    send = ray.remote(num_cpus=1, max_retries=0)(_worker(work, begin, timeout))
    tasks = iter(tasks)
    flying: dict[Any, tuple[Task, float]] = {}
    try:
        while True:
            for task in islice(tasks, jobs - len(flying)):
                flying[send.remote(task)] = task, time.monotonic()
            if not flying:
                return
            done, _ = ray.wait(list(flying), timeout=1 if waiting else None)
            if waiting:
                waiting()
            for reference in done:
                task, sent = flying.pop(reference)
                result = _result(ray, reference)
                yield task, late if result is None and time.monotonic() - sent >= timeout else result
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


_begun: set[str] = set()


def _worker(
    work: Callable[[Task], Result], begin: Callable[[], None] | None, timeout: float
) -> Callable[[Task], Result]:
    """`work` for a process of the cluster: after `begin`, and with the time-out."""
    run = uuid.uuid4().hex

    def do(task: Task) -> Result:
        if begin and run not in _begun:
            begin()
            _begun.add(run)
        if timeout < math.inf:
            # The signal ends the process, even if native code hangs.
            signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            return work(task)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    return do


def _joined() -> Any:
    ray = need("ray", "ray", "the engine ray")
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs still sees them
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    return ray


def _result(ray: Any, reference: Any) -> Any:
    """The task's result; None if its process died. Exceptions of the task are raised here."""
    try:
        return ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return None
