"""The baseline in place of a model that is trained: a configuration and its clips in, the fitted model out."""

import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from sparsefuse import metrics
from sparsefuse.baseline.fit import fit
from sparsefuse.config import Config
from sparsefuse.data.clips import Clips
from sparsefuse.methods import BASELINE, build
from sparsefuse.model import FusionModel
from sparsefuse.runs.summary import MAIN_METRIC, METRICS
from sparsefuse.training import multiclip

log = logging.getLogger(__name__)

BATCH = 64


class Baseline(NamedTuple):
    """A fitted model."""

    model: FusionModel
    options: dict[str, Any]
    """that build one like it"""
    seconds: float


def fitted(config: Config, clips: Clips, options: Mapping[str, Any], device: torch.device) -> Baseline:
    """Raises ImportError without scikit-learn."""
    begin = time.monotonic()
    labels, valid = clips.labels, clips.splits["valid"]
    main = MAIN_METRIC[labels.task]

    def make(**more: Any) -> FusionModel:
        given = {**options, **more}
        model = build(BASELINE, clips.features, labels.num_outputs, lengths=clips.longest, **given)
        return model.to(device).eval()

    def rank(model: FusionModel) -> tuple[float, float]:
        """By the main metric; between equals, by the loss."""
        batches = [range(i, min(i + BATCH, len(valid))) for i in range(0, len(valid), BATCH)]
        logits = multiclip.predict(model, valid, valid.fit, labels.num_outputs, batches=batches).cpu()
        truth = torch.stack([labels.encode(row.label) for row in valid.rows])
        scores = metrics.scores(logits, truth, labels.task, heads=labels.heads)
        sign = 1 if METRICS[main].higher_is_better else -1
        return sign * scores.get(main, 0.0), -scores["loss"]  # mAP of clips without any label is not defined

    balanced = config.train.balance != "none"
    asked = {name: options[name] for name in ("kind", "strength") if name in options}
    found = fit(clips, make, rank if len(valid) else None, seed=config.seed, balanced=balanced, **asked)
    log.info("baseline: %s, %s", found.text, "chosen by the validation clips" if len(valid) else "without a choice")
    return Baseline(found.model, {**options, **found.options}, time.monotonic() - begin)
