"""Results come in order, few ahead of their use, and the first error ends it."""

import threading
import time

import pytest

from sparsefuse.parallel.ahead import CHUNK, ahead


@pytest.mark.parametrize("threads", [1, 4])
def test_results_are_in_order(threads: int) -> None:
    def slow_when_even(i: int) -> int:
        time.sleep(0.0005 * (i % 2 == 0))
        return i * i

    assert list(ahead(slow_when_even, range(100), threads)) == [i * i for i in range(100)]


def test_threads_are_only_some_chunks_ahead() -> None:
    taken = []
    results = ahead(lambda i: i, (taken.append(i) or i for i in range(10_000)), 2)
    assert next(results) == 0
    assert len(taken) == 4 * CHUNK
    results.close()
    assert len(taken) == 4 * CHUNK


def test_the_first_error_ends_it_and_no_thread_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda i: 1 // (i - 50), range(1000), 3))
    assert threading.active_count() == before
