"""Batches clips of concurrent requests for one thread that runs the model."""

import logging
import queue
import threading
import time
from concurrent.futures import Future
from typing import NamedTuple

import torch

from sparsefuse.data.sample import Sample
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Prediction, Predictor
from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import ClipFeatures
from sparsefuse.training import multiclip

_log = logging.getLogger(__name__)


class _Clip(NamedTuple):
    inputs: ClipFeatures
    tokens: int
    answer: "Future[Prediction]"


class Batcher:
    """Collects for `wait_ms` after the first clip, at most `batch` clips and `room` tokens of padded length."""

    def __init__(self, predictor: Predictor, numbers: Numbers, *, batch: int, wait_ms: float, room: int) -> None:
        self._predictor, self._numbers = predictor, numbers
        self._batch, self._wait, self._room = batch, wait_ms / 1e3, room
        self._clips: queue.SimpleQueue[_Clip | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, features: ClipFeatures) -> "Future[Prediction]":
        """A future of the prediction."""
        answer: Future[Prediction] = Future()
        self._clips.put(_Clip(features, sum(map(len, features.features.values())), answer))
        return answer

    def close(self) -> None:
        """Ends the thread after the clips that are queued."""
        self._clips.put(None)
        self._thread.join()

    def _run(self) -> None:
        waiting: _Clip | None = None  # one that did not fit into the batch before
        while (first := waiting or self._clips.get()) is not None:
            waiting, batch, longest = None, [first], first.tokens
            until = time.monotonic() + self._wait
            while len(batch) < self._batch:
                try:
                    clip = self._clips.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
                if clip is None:
                    self._clips.put(None)
                    break
                longest = max(longest, clip.tokens)
                if longest * (len(batch) + 1) > self._room:
                    waiting = clip
                    break
                batch.append(clip)
            self._answer([clip for clip in batch if clip.answer.set_running_or_notify_cancel()])

    def _answer(self, batch: list[_Clip]) -> None:
        if not batch:
            return
        self._numbers.batch(len(batch))
        try:
            predictions = self._predictions(batch)
        except Exception as error:
            if len(batch) > 1:  # only the clip with the error should fail
                for clip in batch:
                    self._answer([clip])
                return
            if not isinstance(error, Unusable):
                _log.exception("the model failed on a clip")
            batch[0].answer.set_exception(error)
            return
        for clip, prediction in zip(batch, predictions, strict=True):
            clip.answer.set_result(prediction)

    @torch.inference_mode()
    def _predictions(self, batch: list[_Clip]) -> list[Prediction]:
        predictor = self._predictor
        samples = [
            Sample({name: torch.from_numpy(x) for name, x in clip.inputs.features.items()}, torch.tensor(0), "")
            for clip in batch
        ]
        logits = predictor.logits(multiclip.streams(predictor.model, samples))
        return [predictor.prediction(row, clip.inputs.missing) for row, clip in zip(logits, batch, strict=True)]
