"""Agreement of the exported model with the trained one: logits of both on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsefuse import metrics
from sparsefuse.data.labels import Labels
from sparsefuse.export.clips import ParityClip, ParityClips
from sparsefuse.export.program import Input, pad
from sparsefuse.export.runner import Runner
from sparsefuse.inference.predictor import Predictor
from sparsefuse.runs.summary import MAIN_METRIC
from sparsefuse.training import multiclip

BATCH = 8


@dataclass(frozen=True)
class Parity:
    """Differences on a set of clips."""

    clips: int
    max_difference: float
    """of all logits, clips alone and in padded batches"""
    same_labels: int
    """clips with the same predicted label"""


@dataclass(frozen=True)
class ScoreChange:
    """The score of the exported model on labelled clips, and that of the trained one."""

    clips: int
    metric: str
    trained: float
    exported: float
    loss: float
    """how much worse the exported model is, in points of 1 (of the error itself for regression)"""


@torch.inference_mode()
def trained_logits(predictor: Predictor, clips: Sequence[ParityClip]) -> Tensor:
    """Logits (n, C) of the trained model, clip by clip as in `predict`."""
    logits = []
    for clip in clips:
        tokens, _ = predictor.tokens(clip.features(predictor))
        logits.append(multiclip.logits(predictor.model, tokens, predictor.fit, [f"clip {clip.id}: "]).cpu())
    return torch.cat(logits)


def exported_logits(runner: Runner, inputs: Sequence[Input], clips: Sequence[ParityClip], batch: int = 1) -> Tensor:
    """Logits (n, C) of the exported model, in batches of `batch` clips."""
    some = (clips[i : i + batch] for i in range(0, len(clips), batch))
    return torch.cat([runner(pad([clip.streams for clip in part], inputs)) for part in some])


def parity(trained: Tensor, alone: Tensor, together: Tensor, labels: Labels) -> Parity:
    """Compares logits (n, C)."""
    different = float(torch.stack([trained - alone, trained - together]).abs().max())  # nan if one is
    same = sum(_same(labels, *pair) for pair in zip(trained, alone, strict=True))
    return Parity(len(trained), different, same)


def score(trained: Tensor, exported: Tensor, clips: ParityClips, labels: Labels) -> ScoreChange | None:
    """The task's main score of both; None without labels."""
    truth = clips.labels
    if truth is None:
        return None
    metric = MAIN_METRIC[labels.task]
    both = [metrics.scores(logits, truth, labels.task, heads=labels.heads) for logits in (trained, exported)]
    if any(metric not in scores for scores in both):
        return None
    before, now = (scores[metric] for scores in both)
    if metric == "mae":
        return ScoreChange(len(truth), metric, before, now, now / before - 1 if before else float(now > 0))
    return ScoreChange(len(truth), metric, before, now, before - now)


def _same(labels: Labels, one: Tensor, other: Tensor) -> bool:
    """Whether two logits (C,) predict the same label; true for regression, where only the tolerance counts."""
    return labels.task == "regression" or bool((labels.likeliest(one) == labels.likeliest(other)).all())
