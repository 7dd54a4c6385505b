"""Losses and scores: logits and labels in, numbers out.

A `heads` task has several labels per clip, one class each (a verb and a noun). The logits of its heads stand side by
side, so functions of logits take `heads`: the number of classes of each, in order.
"""

import statistics
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.config import Task


def losses(
    logits: Tensor,
    labels: Tensor,
    task: Task,
    *,
    heads: Mapping[str, int] | None = None,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """(B,) loss per sample: cross entropy, mean binary cross entropy over classes, mean cross entropy over heads (MBT
    on Epic-Kitchens), or absolute error. `weights` (C,) multiply the cross entropy of a sample of each class; with
    several labels (2, C): where the class is absent, where it is present."""
    logits = logits.float()
    if task == "class":
        each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
        return each if weights is None else weights[labels] * each
    if task == "heads":
        own = [None] * labels.shape[1] if weights is None else weights.split(list((heads or {}).values()))
        parts = zip(_split(logits, heads), labels.unbind(1), own, strict=True)
        each = [losses(x, y, "class", label_smoothing=label_smoothing, weights=w) for x, y, w in parts]
        return torch.stack(each).mean(0)
    if task == "multilabel":
        weight = None if weights is None else torch.where(labels > 0, weights[1], weights[0])
        return F.binary_cross_entropy_with_logits(logits, labels, weight, reduction="none").mean(1)
    return (logits[:, 0] - labels).abs()


def soft_losses(
    logits: Tensor, targets: Tensor, task: Task, *, temperature: float, heads: Mapping[str, int] | None = None
) -> Tensor:
    """(B,) distance from a teacher's logits (B, C), as in Hinton et al. 2015: the Kullback-Leibler divergence from the
    teacher's distribution, both at `temperature`, times its square, so that gradients keep their size. Of several
    labels the mean over classes, of heads the mean over heads; of regression the absolute difference."""
    logits, targets = logits.float(), targets.float()
    if task == "regression":
        return (logits[:, 0] - targets[:, 0]).abs()
    if task == "heads":
        pairs = zip(_split(logits, heads), _split(targets, heads), strict=True)
        return torch.stack([soft_losses(x, y, "class", temperature=temperature) for x, y in pairs]).mean(0)
    own, theirs = logits / temperature, targets / temperature
    if task == "class":
        each = F.kl_div(own.log_softmax(1), theirs.log_softmax(1), reduction="none", log_target=True).sum(1)
    else:
        own, theirs = (torch.stack([F.logsigmoid(x), F.logsigmoid(-x)]) for x in (own, theirs))
        each = F.kl_div(own, theirs, reduction="none", log_target=True).sum(0).mean(1)
    return temperature**2 * each


def probabilities(logits: Tensor, task: Task, *, heads: Mapping[str, int] | None = None) -> Tensor:
    """(B, C) probability of each class; those of one head sum to one."""
    if task == "heads":
        return torch.cat([part.softmax(1) for part in _split(logits, heads)], 1)
    return logits.softmax(1) if task == "class" else logits.sigmoid()


def likeliest(logits: Tensor, heads: Mapping[str, int]) -> Tensor:
    """(B, H) the likeliest class of each head, counted within the head."""
    return _five_likeliest(_split(logits, heads))[:, 0]


def scores(logits: Tensor, labels: Tensor, task: Task, *, heads: Mapping[str, int] | None = None) -> dict[str, float]:
    """Scores of a split, as fractions; `loss` is among them.

    class: top1, top5 (six classes and up), map (mean over the classes that occur, absent if none does; see
    `per_class_ap`), macro_f1. multilabel: map, macro_f1 (at probability 1/2). heads: top1 (right in every head), top5
    (six combinations of classes and up: the true one is among the five of the largest product of probabilities), and
    of each head top1_<head> and top5_<head>. regression: mae, corr (Pearson; 0 if either side is constant).
    """
    from torchmetrics import functional as tm
    from torchmetrics.functional import classification as tmc

    scored = {"loss": float(losses(logits, labels, task, heads=heads).mean())}
    outputs, logits, labels = logits, logits.float().cpu(), labels.cpu()
    if task == "class":
        classes = logits.shape[1]
        scored["top1"] = float((logits.argmax(1) == labels).double().mean())
        if classes > 5:
            scored["top5"] = float(tmc.multiclass_accuracy(logits, labels, classes, top_k=5, average="micro"))
        scored["macro_f1"] = float(tmc.multiclass_f1_score(logits, labels, classes, average="macro"))
    elif task == "heads":
        assert heads
        parts = _split(logits, heads)
        scored |= _top(parts, labels, "")
        for i, name in enumerate(heads):
            scored |= _top(parts[i : i + 1], labels[:, i : i + 1], f"_{name}")
        return scored
    elif task == "multilabel":
        columns = zip((logits > 0).T, labels.long().T, strict=True)
        # Column by column: torchmetrics' multilabel F1 rejects a single class.
        scored["macro_f1"] = statistics.fmean(float(tmc.binary_f1_score(*column)) for column in columns)
    else:
        values = logits[:, 0]
        scored["mae"] = float(tm.mean_absolute_error(values, labels))
        spread = len(labels) > 1 and values.std() > 0 and labels.std() > 0
        scored["corr"] = float(tm.pearson_corrcoef(values, labels)) if spread else 0.0
        return scored
    defined = [ap for ap in per_class_ap(outputs, labels, task) if ap is not None]
    if defined:
        scored["map"] = statistics.fmean(defined)
    return scored


def per_class_ap(
    logits: Tensor, labels: Tensor, task: Task, *, heads: Mapping[str, int] | None = None
) -> list[float | None]:
    """Average precision per class, clips ranked by their logits as the released code of SFT does: a softmax ranks them
    otherwise, and shares that float32 rounds to 0 or 1 tie. None for a class without a positive sample, where it is not
    defined."""
    logits, labels = logits.cpu(), labels.cpu()
    if task == "class":
        positive = F.one_hot(labels, logits.shape[1])
    elif task == "heads":
        assert heads
        positive = torch.cat([F.one_hot(*pair) for pair in zip(labels.unbind(1), heads.values(), strict=True)], 1)
    else:
        positive = labels.long()
    columns = zip(logits.T, positive.T, strict=True)
    return [_average_precision(values, there) if there.any() else None for values, there in columns]


def _average_precision(values: Tensor, positive: Tensor) -> float:
    """Mean precision over the positives, each at the threshold that takes it in; values (n,), positive (n,) 0 or 1."""
    thresholds, place = values.unique(return_inverse=True)  # ascending; equal values share a threshold
    hits, taken = (torch.bincount(place, weights, len(thresholds)) for weights in (positive.double(), None))
    precision = hits.flip(0).cumsum(0) / taken.flip(0).cumsum(0)
    return float((precision * hits.flip(0)).sum() / hits.sum())


def confusion(logits: Tensor, labels: Tensor) -> list[list[int]]:
    """Counts, a row per true class, a column per predicted class."""
    classes = logits.shape[1]
    pairs = labels.cpu() * classes + logits.argmax(1).cpu()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).tolist()


def confusions(logits: Tensor, labels: Tensor, heads: Mapping[str, int]) -> dict[str, list[list[int]]]:
    """The confusion of each head."""
    parts = zip(heads, _split(logits, heads), labels.unbind(1), strict=True)
    return {name: confusion(part, truth) for name, part, truth in parts}


def _split(logits: Tensor, heads: Mapping[str, int] | None) -> tuple[Tensor, ...]:
    """(B, C) logits -> (B, C_h) per head."""
    assert heads, "a heads task needs the number of classes of each head"
    return logits.split(list(heads.values()), 1)


def _top(parts: Sequence[Tensor], labels: Tensor, suffix: str) -> dict[str, float]:
    """Top-1 and, where there are six combinations or more, top-5 of the labels (B, H)."""
    right = (_five_likeliest(parts) == labels[:, None]).all(2)  # (B, 5)
    scored = {f"top1{suffix}": float(right[:, 0].double().mean())}
    combinations = 1
    for part in parts:
        combinations *= part.shape[1]
    if combinations > 5:
        scored[f"top5{suffix}"] = float(right.any(1).double().mean())
    return scored


def _five_likeliest(parts: Sequence[Tensor]) -> Tensor:
    """(B, 5, H) the combinations of one class per head that have the largest product of probabilities, or all if fewer.

    Sums of logits order them alike: what softmax divides by is one number for all classes of a head. Head by head five
    are kept: for any choice in the other heads, a sixth has five before it. Ties go to the lower class.
    """
    best = parts[0].new_zeros(len(parts[0]), 1, dtype=torch.double)
    chosen = torch.zeros(len(parts[0]), 1, 0, dtype=torch.long, device=parts[0].device)
    for part in parts:
        values, classes = part.double().sort(dim=1, descending=True, stable=True)
        values, classes = values[:, :5], classes[:, :5]
        total = (best[:, :, None] + values[:, None]).flatten(1)  # (B, 25)
        total, order = total.sort(dim=1, descending=True, stable=True)
        best, order = total[:, :5], order[:, :5]
        before, here = order // values.shape[1], order % values.shape[1]
        earlier = chosen.gather(1, before[:, :, None].expand(-1, -1, chosen.shape[2]))
        chosen = torch.cat([earlier, classes.gather(1, here)[:, :, None]], 2)
    return chosen
