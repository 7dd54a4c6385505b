"""Results come in order, few ahead of their use, and the first error ends it."""

import os
import signal
import threading
import time

import pytest

from sparsefuse.parallel.ahead import CHUNK, SENT, ahead, by_processes


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


def double_or_die(i: int) -> int:
    if i == SENT + 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2 * (i == 0))  # so that another chunk is done first
    return 2 * i


def test_a_process_that_dies_costs_one_item_and_no_order() -> None:
    count = 2 * SENT + 5
    expected = [None if i == SENT + 3 else 2 * i for i in range(count)]
    assert list(by_processes(double_or_die, range(count), 2)) == expected


def refuse(i: int) -> int:
    raise OSError(28, "full", str(i))


def test_an_error_in_a_process_is_raised() -> None:
    with pytest.raises(OSError, match="full"):
        list(by_processes(refuse, range(SENT + 1), 2))
