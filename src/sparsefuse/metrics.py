"""Losses and scores: logits and labels in, numbers out."""

import statistics
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Task = Literal["class", "multilabel", "regression"]


def losses(logits: Tensor, labels: Tensor, task: Task, *, label_smoothing: float = 0.0) -> Tensor:
    """(B,) loss per sample: cross entropy, mean binary cross entropy over classes, or absolute error."""
    logits = logits.float()
    if task == "class":
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    if task == "multilabel":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    return (logits[:, 0] - labels).abs()


def scores(logits: Tensor, labels: Tensor, task: Task) -> dict[str, float]:
    """Scores of a split, as fractions; `loss` is among them.

    class: top1, top5 (six classes and up), map (mean over the classes that occur, absent if none does), macro_f1.
    multilabel: map, macro_f1 (at probability 1/2). regression: mae, corr (Pearson; 0 if either side is constant).
    """
    from torchmetrics import functional as tm
    from torchmetrics.functional import classification as tmc

    found = {"loss": float(losses(logits, labels, task).mean())}
    logits = logits.float().cpu()
    labels = labels.cpu()
    if task == "class":
        classes = logits.shape[1]
        found["top1"] = float((logits.argmax(1) == labels).double().mean())
        if classes > 5:
            found["top5"] = float(tmc.multiclass_accuracy(logits, labels, classes, top_k=5, average="micro"))
        found["macro_f1"] = float(tmc.multiclass_f1_score(logits, labels, classes, average="macro"))
    elif task == "multilabel":
        columns = zip(logits.sigmoid().T, labels.long().T, strict=True)  # torchmetrics' own takes no single class
        found["macro_f1"] = statistics.fmean(float(tmc.binary_f1_score(*column)) for column in columns)
    else:
        values = logits[:, 0]
        found["mae"] = float(tm.mean_absolute_error(values, labels))
        spread = len(labels) > 1 and values.std() > 0 and labels.std() > 0
        found["corr"] = float(tm.pearson_corrcoef(values, labels)) if spread else 0.0
        return found
    known = [ap for ap in per_class_ap(logits, labels, task) if ap is not None]
    if known:
        found["map"] = statistics.fmean(known)
    return found


def per_class_ap(logits: Tensor, labels: Tensor, task: Task) -> list[float | None]:
    """Average precision per class; None for a class without a positive sample, where it is not defined."""
    from torchmetrics.functional import classification as tmc

    logits, labels = logits.float().cpu(), labels.cpu()
    if task == "class":
        shares, positive = logits.softmax(1), F.one_hot(labels, logits.shape[1])
    else:
        shares, positive = logits.sigmoid(), labels.long()
    columns = zip(shares.T, positive.T, strict=True)
    return [float(tmc.binary_average_precision(s, there)) if there.any() else None for s, there in columns]


def confusion(logits: Tensor, labels: Tensor) -> list[list[int]]:
    """Counts, a row per true class, a column per predicted class."""
    classes = logits.shape[1]
    pairs = labels.cpu() * classes + logits.argmax(1).cpu()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).tolist()
