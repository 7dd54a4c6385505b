"""Clips that nothing was learnt from: two models and the clips in, the scores of both out."""

from typing import NamedTuple

import torch

from sparsefuse import metrics
from sparsefuse.data.batches import collate
from sparsefuse.data.lengths import Lengths
from sparsefuse.finetune.clips import Clips, labels_of
from sparsefuse.finetune.fit import HELD_BATCH
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import Predicted
from sparsefuse.training import multiclip


class Trial(NamedTuple):
    """What both models say."""

    before: dict[str, float]
    after: dict[str, float]
    predicted: Predicted
    """what the adapted model says"""
    clips: Clips


def trial(before: FusionModel, after: FusionModel, clips: Clips, fit: Lengths) -> Trial:
    """Scores both models on the clips, long ones by all their windows."""
    labels, task, heads = labels_of(clips.samples), clips.labels.task, clips.labels.heads
    said = [_logits(model, clips, fit) for model in (before, after)]
    scores = [metrics.scores(logits, labels, task, heads=heads) for logits in said]
    return Trial(scores[0], scores[1], Predicted(said[1], labels, [row.id for row in clips.rows]), clips)


@torch.inference_mode()
def _logits(model: FusionModel, clips: Clips, fit: Lengths) -> torch.Tensor:
    parts = [clips.samples[i : i + HELD_BATCH] for i in range(0, len(clips.samples), HELD_BATCH)]
    return torch.cat([multiclip.logits(model.eval(), collate(part, model.features).tokens, fit) for part in parts])
