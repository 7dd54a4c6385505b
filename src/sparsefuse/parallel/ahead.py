"""Results of a function, in order, computed by threads ahead: for reading and hashing, which free the GIL."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16
"""Items of one task, since handing over one takes as long as reading a small file; twice as many as threads wait."""


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
