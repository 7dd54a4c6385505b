"""Which requests may be in the server, and how many are processed at a time."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.refusal import Refusal


class Admission:
    """Places for requests. Each writes to a folder of its own in `folder`."""

    def __init__(self, limits: ServeLimits, folder: Path, numbers: Numbers) -> None:
        self._limits, self._folder = limits, folder
        self._taken = self._working = 0
        numbers.gauge("in_flight", "Clips that are processed.", lambda: self._working)
        numbers.gauge("queue_depth", "Clips that are received or wait.", lambda: self._taken - self._working)

    def open(self) -> None:
        """Called once the loop runs."""
        self._slots = asyncio.Semaphore(self._limits.concurrency)

    @property
    def busy(self) -> bool:
        """Whether any request is in the server."""
        return self._taken > 0

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Admits a request; yields a temporary folder for it. Raises Refusal when the server is full."""
        if self._taken >= self._limits.places:
            raise Refusal(503, f"{self._taken} requests are in the server already; retry in a second", retry_after=1)
        self._taken += 1
        try:
            with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
                yield Path(folder)
        finally:
            self._taken -= 1

    def deadline(self) -> float:
        """When a request that begins now must have its answer, in the loop's time."""
        return asyncio.get_running_loop().time() + self._limits.timeout

    @asynccontextmanager
    async def working_on(self, deadline: float) -> AsyncIterator[None]:
        """Waits for a turn. Raises Refusal if there was no answer in time."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
            self._working += 1
            try:
                yield
            finally:
                self._working -= 1
                self._slots.release()
        except TimeoutError:
            raise Refusal(504, f"there was no answer within {self._limits.timeout:g} s; the server is busy") from None
