"""`workers.each` on a Ray cluster: tasks come in, their results come out in the order they finish."""

import logging
import os
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def each(
    work: Callable[[Task], Result], tasks: Iterable[Task], jobs: int, *, waiting: Callable[[], None] | None = None
) -> Generator[tuple[Task, Result | None], None, None]:
    """As `workers.each`; `jobs` tasks are in flight, one processor each, on whatever machines the cluster has.

    Joins the cluster that RAY_ADDRESS names, or starts one on this machine. The machines must share the file system
    that the tasks write to. Raises ImportError without the `ray` extra.
    """
    ray = _joined()
    send = ray.remote(num_cpus=1, max_retries=0)(work)
    tasks = iter(tasks)
    flying: dict[Any, Task] = {}
    try:
        while True:
            for task in islice(tasks, jobs - len(flying)):
                flying[send.remote(task)] = task
            if not flying:
                return
            done, _ = ray.wait(list(flying), timeout=1 if waiting else None)
            if waiting:
                waiting()
            for reference in done:
                yield flying.pop(reference), _result(ray, reference)
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


def _joined() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError("the engine ray needs ray: pip install 'sparsefuse[ray]'") from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without GPUs keeps sight of them
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    return ray


def _result(ray: Any, reference: Any) -> Any:
    """What the task returned; None if its process died. What it raised is raised here."""
    try:
        return ray.get(reference)
    except ray.exceptions.WorkerCrashedError:
        return None
