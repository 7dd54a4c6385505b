"""Cross-validation of the number of epochs: clips in; the best number, and scores of held-out clips, out."""

import copy
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse import metrics
from sparsefuse.finetune.clips import labels_of
from sparsefuse.finetune.fit import Material, fit, timed
from sparsefuse.finetune.settings import UNWATCHED_EPOCHS, Settings
from sparsefuse.model import FusionModel
from sparsefuse.runs.records import Epoch

MOST = 5


class Validated(NamedTuple):
    """The result of cross-validation."""

    epochs: int
    """the best number of them; 0 = the model is best without training"""
    lines: list[Epoch]
    """of metrics.jsonl; empty if nothing could be held out"""
    before: dict[str, float]
    """scores of the new clips when held out"""
    after: dict[str, float]
    old_before: dict[str, float]
    """the same of the replay clips; empty without any"""
    old_after: dict[str, float]


def cross_validate(
    model: FusionModel, material: Material, settings: Settings, groups: Sequence[Sequence[int]]
) -> Validated:
    """Fits once per fold, each time without a part of the clips. `groups`: the numbers of the clips of each class.

    The best epoch has the lowest loss, that of the held-out new clips plus that of the held-out old ones, as in
    training. If no two clips share a class, none can be held out, and the number of epochs is a fixed, small one.
    """
    folds = divided(groups, settings.seed)
    if not folds:
        return Validated(min(UNWATCHED_EPOCHS, settings.epochs), [], {}, {}, {}, {})
    count = len(material.old.labels) if material.old else 0
    old = [
        list(range(i, count, len(folds))) for i in range(len(folds))
    ]  # clips are sorted by class, so every fold has each class
    fits = [
        timed(fit(copy.deepcopy(model), material, settings, epochs=settings.epochs, new=fold, old=fold_old))
        for fold, fold_old in zip(folds, old, strict=True)
    ]
    labels = labels_of([material.samples[i] for fold in folds for i in fold])
    old_labels = material.old.labels[[i for fold_old in old for i in fold_old]] if material.old else None
    scored: list[tuple[dict[str, float], dict[str, float]]] = []
    lines: list[Epoch] = []
    for number, parts in enumerate(zip(*fits, strict=True)):
        scores = _scores(material, torch.cat([epoch.new for epoch, _ in parts]), labels)
        rehearsed = {} if old_labels is None else _scores(material, torch.cat([e.old for e, _ in parts]), old_labels)
        scored.append((scores, rehearsed))
        both = {f"valid_{name}": value for name, value in scores.items()}
        both |= {f"old_{name}": value for name, value in rehearsed.items()}
        loss, seconds = statistics.fmean(e.train_loss for e, _ in parts), sum(seconds for _, seconds in parts)
        lines.append(Epoch(number, settings.rate, loss, round(seconds, 3), both))
    best = min(range(len(scored)), key=lambda i: scored[i][0]["loss"] + scored[i][1].get("loss", 0.0))
    return Validated(best, lines[1:], scored[0][0], scored[best][0], scored[0][1], scored[best][1])


def _scores(material: Material, logits: Tensor, labels: Tensor) -> dict[str, float]:
    return metrics.scores(logits, labels, material.labels.task, heads=material.labels.heads)


def divided(groups: Sequence[Sequence[int]], seed: int) -> list[list[int]]:
    """The numbers in folds, every class over all of them; empty if no class has two clips.

    There are as many folds as the smallest class of two clips or more has clips, `MOST` at most. A class of one clip
    is in no fold: it is always trained on.
    """
    shared = [group for group in groups if len(group) > 1]
    if not shared:
        return []
    count = min(MOST, *map(len, shared))
    generator = torch.Generator().manual_seed(seed)
    folds: list[list[int]] = [[] for _ in range(count)]
    for group in shared:
        for place, i in enumerate(torch.randperm(len(group), generator=generator).tolist()):
            folds[place % count].append(group[i])
    return folds
