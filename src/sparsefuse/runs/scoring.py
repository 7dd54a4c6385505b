"""The scores and costs of a model: logits and labels of a split in; parts of result.json, and predictions.csv, out."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from sparsefuse import metrics
from sparsefuse.cost import count
from sparsefuse.cost.measure import measure
from sparsefuse.data.labels import Labels
from sparsefuse.files.whole import write_text
from sparsefuse.model import FusionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Cost, Epoch, Result, Scores

log = logging.getLogger(__name__)


class Predicted(NamedTuple):
    """The outputs for one split, in the order of its samples."""

    logits: Tensor
    """(n, C)"""
    labels: Tensor
    """(n,), (n, C) or (n, H)"""
    ids: list[str]
    exchanged: Mapping[str, float] = MappingProxyType({})
    """layer -> share of the tokens that it replaced, where a method exchanges tokens"""


def write_result(folder: RunFolder, result: Result, test: Predicted | None, labels: Labels) -> None:
    """Writes result.json with the scores of the test split, if there are any, and predictions.csv before it; what makes
    the choice of the checkpoint doubtful is logged, too."""
    result = replace(result, warnings=[*result.warnings, *doubts(folder.epochs(), result.best_epoch)])
    for warning in result.warnings:
        log.warning("%s: %s", folder.path, warning)
    if test is not None:
        task, heads, outputs = labels.task, labels.heads, (test.logits, test.labels)
        write_text(folder.predictions, predictions_csv(test, labels))
        result = replace(
            result,
            test=scores(test, labels),
            per_class_ap=None if task == "regression" else metrics.per_class_ap(*outputs, task, heads=heads),
            confusion=metrics.confusion(*outputs) if task == "class" else None,
            confusions=metrics.confusions(*outputs, heads) if heads else None,
        )
    folder.write(result)


def doubts(epochs: Sequence[Epoch], best: int) -> list[str]:
    """Why the best epoch may be a matter of chance: it is the first, or validation loss rises all along."""
    found = [f"the first of {len(epochs)} epochs is the best"] if best == 1 < len(epochs) else []
    losses = [epoch.scores["valid_loss"] for epoch in epochs if "valid_loss" in epoch.scores]
    if len(losses) > 1 and epochs[-1].train_loss < epochs[0].train_loss and all(a < b for a, b in pairwise(losses)):
        found.append("validation loss only rises while training loss falls")
    return found


def scores(predicted: Predicted | None, labels: Labels) -> Scores:
    """The scores of a split; none of an empty one."""
    if predicted is None:
        return {}
    return metrics.scores(predicted.logits, predicted.labels, labels.task, heads=labels.heads)


def cost_of(model: FusionModel, lengths: Mapping[str, int], counted: count.CountedCost, *, measured: bool) -> Cost:
    """Cost of one clip of typical length; latency and memory only if `measured`."""
    cost = Cost(
        gmacs=counted.total / 1e9,
        layers_gmacs=counted.layers / 1e9,
        paper_gmacs=counted.paper / 1e9,
        parameters=counted.parameters,
        lengths={name: lengths[name] for name in model.modalities},
    )
    return replace(cost, **measure(model, lengths)._asdict()) if measured else cost


def predictions_csv(predicted: Predicted, labels: Labels) -> str:
    """One line per test sample: id, label, prediction and the probability of each class (the value for regression), as
    trained: without the temperature, so that studies can measure calibration."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "label", "predicted", *labels.classes])
    logits = predicted.logits.float().cpu()
    shares = metrics.probabilities(logits, labels.task, heads=labels.heads)[:, : len(labels.classes)]
    for name, truth, row, share in zip(predicted.ids, predicted.labels.cpu(), logits, shares, strict=True):
        answers = [labels.text(truth), labels.text(labels.likeliest(row))]
        writer.writerow([name, *answers, *(f"{float(p):.6f}" for p in share)])
    return text.getvalue()
