"""Clips that were not trained on: two models and the clips in, the scores of both out."""

from typing import NamedTuple

from sparsefuse.data.lengths import Lengths
from sparsefuse.finetune.clips import UserClips, labels_of
from sparsefuse.finetune.fit import HELD_BATCH
from sparsefuse.model import FusionModel
from sparsefuse.runs.records import Scores
from sparsefuse.runs.scoring import Predicted, scores
from sparsefuse.training import multiclip


class Comparison(NamedTuple):
    """Scores of both models, and the predictions of the adapted one."""

    before: Scores
    after: Scores
    predicted: Predicted
    """of the adapted model"""
    clips: UserClips


def trial(before: FusionModel, after: FusionModel, clips: UserClips, fit: Lengths) -> Comparison:
    """Scores both models on the clips, long ones by all their windows."""
    numbers, labels = range(len(clips.samples)), labels_of(clips.samples)
    batches = [numbers[i : i + HELD_BATCH] for i in numbers[::HELD_BATCH]]
    outputs = [
        multiclip.predict(model, clips.samples, fit, clips.labels.num_outputs, batches=batches).cpu()
        for model in (before, after)
    ]
    both = [Predicted(logits, labels, [row.id for row in clips.rows]) for logits in outputs]
    return Comparison(scores(both[0], clips.labels), scores(both[1], clips.labels), both[1], clips)
