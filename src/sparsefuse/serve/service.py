"""One clip through the server: admission, a reading process, the model."""

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import load
from sparsefuse.serve.batcher import Batcher
from sparsefuse.serve.card import ServerCard
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import ClipFeatures, Explained, ReadTask, RefusedClip, Rules, most_tokens
from sparsefuse.serve.readers import Readers
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.upload import FILE, Received
from sparsefuse.shown import counted

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """The response of /predict."""

    label: str
    probabilities: dict[str, float]
    missing: dict[str, str]
    ms: float


class Service:
    """Predictions, on `device`, and explanations of a run. It writes to `folder`, which the caller removes."""

    def __init__(
        self, run: Path, limits: ServeLimits, folder: Path, *, device: str = "cpu", trust_code: bool = False
    ) -> None:
        self.limits, self.folder = limits, folder
        self.numbers = Numbers()
        self.draining = False
        self._predictor = load(run, device=device, trust_code=trust_code)
        self.card = ServerCard.of(run, self._predictor, limits, most_tokens(run))
        self.fields = {name: self._predictor.reads_text(name) for name in sorted({*self._predictor.columns, FILE})}
        # A reading process has a GPU only for an extractor that is a model: each takes some of its memory.
        models = any("device" in spec for spec in self._predictor.extract.values())
        self._rules = Rules(run, trust_code, limits.max_seconds, device if models else "cpu")
        self._taken = self._working = 0
        self.numbers.gauge("in_flight", "Clips that are processed.", lambda: self._working)
        self.numbers.gauge("queue_depth", "Clips that are received or wait.", lambda: self._taken - self._working)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts readers and model; ends them on exit."""
        self._slots = asyncio.Semaphore(self.limits.concurrency)
        self.readers = Readers(self._rules, self.limits.readers, self.numbers)
        room = self.limits.batch * sum(self.card.longest.values())
        self._batcher = Batcher(
            self._predictor, self.numbers, batch=self.limits.batch, wait_ms=self.limits.wait_ms, room=room
        )
        try:
            _log.info("starting %s that read files ...", counted(self.limits.readers, "process"))
            await self.readers.start()
            yield
        finally:
            self.readers.close()
            self._batcher.close()

    @property
    def busy(self) -> bool:
        """Whether any request is in the server."""
        return self._taken > 0

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Admits a request; yields a temporary folder for it. Raises Refusal when the server is full."""
        if self._taken >= self.limits.places:
            raise Refusal(503, f"{self._taken} requests are in the server already; retry in a second", retry_after=1)
        self._taken += 1
        try:
            with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as folder:
                yield Path(folder)
        finally:
            self._taken -= 1

    def deadline(self) -> float:
        """When a request that begins now must have its answer, in the loop's time."""
        return asyncio.get_running_loop().time() + self.limits.timeout

    async def predict(self, files: list[Received], began: float, deadline: float) -> Answer:
        """The prediction for one clip; `began` by `time.monotonic()`. Raises Refusal."""
        async with self._working_on(deadline):
            features = await self._read(ReadTask("read", files), deadline)
            assert isinstance(features, ClipFeatures), type(features)
            try:
                async with asyncio.timeout_at(deadline):
                    prediction = await asyncio.wrap_future(self._batcher.submit(features))
            except Unusable as error:  # an output that is not finite
                names = ", ".join(file.shown for file in files)
                raise Refusal(422, f"{names}: {error}") from error
        ms = round(1e3 * (time.monotonic() - began), 2)
        return Answer(**prediction.to_json(), ms=ms)

    async def explain(self, files: list[Received], deadline: float) -> Explained:
        """The explanation of one clip. Raises Refusal."""
        async with self._working_on(deadline):
            explained = await self._read(ReadTask("explain", files), deadline)
        assert isinstance(explained, Explained), type(explained)
        return explained

    @asynccontextmanager
    async def _working_on(self, deadline: float) -> AsyncIterator[None]:
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
            raise Refusal(504, f"there was no answer within {self.limits.timeout:g} s; the server is busy") from None

    async def _read(self, task: ReadTask, deadline: float) -> ClipFeatures | Explained:
        result = await self.readers.do(task, deadline)
        if isinstance(result, RefusedClip):
            if result.trace:
                _log.warning("%s\n%s", result.reason, result.trace)
            raise Refusal(422, result.reason)
        return result
