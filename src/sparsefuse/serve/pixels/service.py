"""One scene through the server: admission, and a process that reads and predicts."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from sparsefuse.inference.pixels.predictor import load_pixels
from sparsefuse.serve.admission import Admission
from sparsefuse.serve.limits import ServeLimits
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.pixels.card import SceneCard
from sparsefuse.serve.pixels.reader import serve_scenes
from sparsefuse.serve.reader import ReadTask, RefusedClip, Rules, SceneSaid
from sparsefuse.serve.readers import Readers
from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.upload import Received
from sparsefuse.shown import counted

_log = logging.getLogger(__name__)


class SceneAnswer(NamedTuple):
    """What is said of a scene, and how long it took."""

    said: SceneSaid
    ms: float


class SceneService:
    """Predictions of a run on pictures. It writes to `folder`, which the caller removes."""

    def __init__(self, run: Path, limits: ServeLimits, folder: Path, *, device: str = "cpu") -> None:
        self.limits, self.folder = limits, folder
        self.numbers = Numbers()
        self.draining = False
        predictor = load_pixels(run)
        self.card = SceneCard.of(run, predictor, limits)
        self.fields = dict.fromkeys(predictor.streams, False)  # none may be text
        self._rules = Rules(run, trust_code=False, max_seconds=limits.max_seconds, device=device)
        self.admission = Admission(limits, folder, self.numbers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts the processes; ends them on exit."""
        self.admission.open()
        self.readers = Readers(self._rules, self.limits.readers, self.numbers, serve=serve_scenes)
        try:
            _log.info("starting %s that read pictures ...", counted(self.limits.readers, "process"))
            await self.readers.start()
            yield
        finally:
            self.readers.close()

    async def predict(self, files: list[Received], began: float, deadline: float, *, views: bool) -> SceneAnswer:
        """The prediction for one scene; `began` by `time.monotonic()`. Raises Refusal."""
        async with self.admission.working_on(deadline):
            result = await self.readers.do(ReadTask("explain" if views else "read", files), deadline)
        if isinstance(result, RefusedClip):
            if result.trace:
                _log.warning("%s\n%s", result.reason, result.trace)
            raise Refusal(422, result.reason)
        assert isinstance(result, SceneSaid), type(result)
        return SceneAnswer(result, round(1e3 * (time.monotonic() - began), 2))
