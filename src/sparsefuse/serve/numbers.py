"""Metrics of a server: counts of requests and batches, as Prometheus text."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How many values were at most each bound, their sum and their number."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str) -> list[str]:
        """The histogram in Prometheus format, with cumulative buckets."""
        total, lines = 0, []
        for bound, count in zip([*self.bounds, "+Inf"], self.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self.sum:.6f}", f"{name}_count {total}"]


class Numbers:
    """The counters of one server. Threads may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds = Histogram(SECONDS)
        self._batches = Histogram(SIZES)
        self._restarts = 0
        self._gauges: dict[str, tuple[str, Callable[[], int]]] = {}

    def gauge(self, name: str, text: str, value: Callable[[], int]) -> None:
        """Adds a gauge; `value` is called when the metrics are read."""
        self._gauges[name] = text, value

    def request(self, path: str, status: int, seconds: float) -> None:
        """Counts a finished request; times are of /predict alone."""
        with self._lock:
            self._requests[path, status] += 1
            if path == "/predict":
                self._seconds.add(seconds)

    def batch(self, size: int) -> None:
        """Counts a batch of the model."""
        with self._lock:
            self._batches.add(size)

    def restart(self) -> None:
        """Counts a replaced reading process."""
        with self._lock:
            self._restarts += 1

    def text(self) -> str:
        """All metrics."""
        with self._lock:
            requests = [f'{_REQUESTS}{{path="{p}",status="{s}"}} {n}' for (p, s), n in sorted(self._requests.items())]
            parts = [
                (_REQUESTS, "counter", "Requests by path and status; 499: the client left.", requests),
                (_SECONDS, "histogram", "Time from request to answer, of /predict.", self._seconds.lines(_SECONDS)),
                (_BATCHES, "histogram", "Clips per batch of the model.", self._batches.lines(_BATCHES)),
                (_RESTARTS, "counter", "Reading processes replaced after a crash or a hang.",
                 [f"{_RESTARTS} {self._restarts}"]),
            ]  # fmt: skip
        for name, (text, value) in self._gauges.items():
            parts.append((f"sparsefuse_{name}", "gauge", text, [f"sparsefuse_{name} {value()}"]))
        lines = []
        for name, kind, text, values in parts:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *values]
        return "\n".join(lines) + "\n"


_REQUESTS = "sparsefuse_requests_total"
_SECONDS = "sparsefuse_request_seconds"
_BATCHES = "sparsefuse_batch_size"
_RESTARTS = "sparsefuse_reader_restarts_total"
