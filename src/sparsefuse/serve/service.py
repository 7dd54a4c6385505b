"""One clip through the server: admission, a reading process, the model."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import load
from sparsefuse.serve.admission import Admission
from sparsefuse.serve.batcher import Batcher
from sparsefuse.serve.card import ServerCard
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import ClipFeatures, Explained, ReadTask, RefusedClip, Rules, SceneSaid, most_tokens
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
        self._predictor = load(run, device=device, trust_code=trust_code, cuda_graphs="auto")
        self.card = ServerCard.of(run, self._predictor, limits, most_tokens(run))
        self.fields = {name: self._predictor.reads_text(name) for name in sorted({*self._predictor.columns, FILE})}
        # A reading process has a GPU only for an extractor that is a model: each takes some of its memory.
        models = any("device" in spec for spec in self._predictor.extract.values())
        self._rules = Rules(run, trust_code, limits.max_seconds, device if models else "cpu")
        self.admission = Admission(limits, folder, self.numbers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts readers and model; ends them on exit."""
        self.admission.open()
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

    async def predict(self, files: list[Received], began: float, deadline: float) -> Answer:
        """The prediction for one clip; `began` by `time.monotonic()`. Raises Refusal."""
        async with self.admission.working_on(deadline):
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
        async with self.admission.working_on(deadline):
            explained = await self._read(ReadTask("explain", files), deadline)
        assert isinstance(explained, Explained), type(explained)
        return explained

    async def _read(self, task: ReadTask, deadline: float) -> ClipFeatures | Explained:
        result = await self.readers.do(task, deadline)
        if isinstance(result, RefusedClip):
            if result.trace:
                _log.warning("%s\n%s", result.reason, result.trace)
            raise Refusal(422, result.reason)
        assert not isinstance(result, SceneSaid), "a reader of clips reads no scenes"
        return result
