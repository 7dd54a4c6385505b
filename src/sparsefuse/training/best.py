"""The best epoch: which score of the validation split chooses it, and whether one is better than another."""

from collections.abc import Iterable

import torch

from sparsefuse import metrics
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.errors import unknown
from sparsefuse.runs.summary import metric


def check_best(best: str, valid: ClipDataset) -> None:
    """Raises ValueError, naming those that there are, unless the validation split has this score (`train.best`)."""
    kind, scores = valid.labels, {}
    if len(valid) and best not in ("last", "loss"):
        labels = torch.stack([kind.encode(row.label) for row in valid.rows])
        scores = metrics.scores(torch.zeros(len(labels), kind.num_outputs), labels, kind.task, heads=kind.heads)
    check_best_of(best, scores, kind.task, valid=bool(len(valid)))


def check_best_of(best: str, scores: Iterable[str], task: str, *, valid: bool) -> None:
    """The same for the names of a task's scores; `valid`: whether anything validates."""
    if best in ("last", "loss"):  # the training loss, if there are no validation clips
        return
    if not valid:
        raise ValueError(
            f"train.best is {best}, a score of the validation split, and that is empty; set train.best=loss (then the "
            "training loss chooses the epoch), or give it clips (data.split.fractions)"
        )
    if best not in scores:
        raise ValueError(f"train.best: {unknown(f'score of task {task}', best, scores)}")


def score_of(best: str) -> str:
    """The score that is looked at; of the last epoch the loss."""
    return "loss" if best == "last" else best


def better(best: str, score: float, than: float) -> bool:
    """Whether a score is better than an earlier one; of `last`, the later is."""
    if best == "last":
        return True
    return score > than if best != "loss" and metric(best).higher_is_better else score < than
