"""Results of a function, in order, computed ahead: by threads, for what frees the GIL, or by processes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from typing import TypeVar

from sparsefuse.parallel.workers import each

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Items of one task, since handing over one takes as long as reading a small file; twice as many as threads wait."""
SENT = 256
"""the same, for a process"""


def ahead(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`function` of every item; with one thread, in this one when it is asked for. The first error ends it."""
    if threads < 2:
        yield from map(function, items)
        return
    remaining, pending = iter(items), deque[Future[list[Result]]]()
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            while len(pending) < 2 * threads and (some := list(islice(remaining, CHUNK))):
                pending.append(pool.submit(lambda some: [function(item) for item in some], some))
            if not pending:
                return
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def by_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int
) -> Generator[Result | None, None, None]:
    """The same by `jobs` (two or more) processes, whose start takes seconds; None for an item of which one died."""
    tasks = [(i, items[i : i + SENT]) for i in range(0, len(items), SENT)]
    done: dict[int, list[Result | None]] = {}
    following = 0
    with closing(each(partial(_each_of, function), tasks, jobs)) as results:
        for (i, some), found in results:
            done[i] = _one_by_one(function, some) if found is None else [*found]
            while following in done:
                yield from done.pop(following)
                following += SENT


def _each_of(function: Callable[[Item], Result], task: tuple[int, Sequence[Item]]) -> list[Result]:
    return [function(item) for item in task[1]]


def _one_by_one(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | None]:
    """Each as a task of its own."""
    tasks = ((i, [item]) for i, item in enumerate(items))
    found = {i: result for (i, _), result in each(partial(_each_of, function), tasks, 2)}
    return [one[0] if (one := found[i]) else None for i in range(len(items))]
