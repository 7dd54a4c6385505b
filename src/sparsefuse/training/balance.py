"""Balanced classes: the labels of the training clips in; weights of classes, or chances of clips to be drawn, out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsefuse.data.labels import Labels


def check_balance(balance: str, labels: Labels) -> None:
    """Raises ValueError where labels are numbers."""
    if balance != "none" and labels.task == "regression":
        raise ValueError(
            f"train.balance is {balance}, but the labels are numbers, and regression has no classes to balance; set "
            "train.balance=none (or data.task=class if the numbers are classes)"
        )


def class_weights(labels: Labels, texts: Sequence[str]) -> Tensor:
    """(C,) the weight of each class, n / (k n_c): n clips, n_c of them of the class, k classes that occur (as
    scikit-learn's `balanced`). The mean over the clips is 1. Each head is by itself. Of several labels each class is
    balanced against its absence: (2, C), absent and present."""
    counts = _counts([labels.indices(text) for text in texts], len(labels.classes))
    if labels.task == "multilabel":
        return _balanced(torch.stack([len(texts) - counts, counts])).float()
    return torch.cat([_balanced(counts[span.start : span.stop]) for span in labels.groups.values()]).float()


def sample_chances(labels: Labels, texts: Sequence[str]) -> Tensor:
    """(n,) how likely each clip is to be drawn; they sum to 1. Every class is as likely as any other. Of several heads
    or labels, a clip's chance is the mean over its classes; having no label at all is a class too."""
    num = len(labels.classes)
    named = [labels.indices(text) or [num] for text in texts]
    sizes = [num + 1] if labels.task == "multilabel" else [len(span) for span in labels.groups.values()]
    counts = _counts(named, num + 1)[: sum(sizes)]
    weights = torch.cat([_balanced(part) for part in counts.split(sizes)])
    each = torch.stack([weights[names].mean() for names in named])
    return each / each.sum()


def _counts(named: Sequence[Sequence[int]], num: int) -> Tensor:
    return torch.bincount(torch.tensor([i for names in named for i in names]), minlength=num).double()


def _balanced(counts: Tensor) -> Tensor:
    """Down the first dimension; 1 for a class that does not occur."""
    occurs = counts > 0
    return torch.where(occurs, counts.sum(0) / (occurs.sum(0) * counts), 1.0)
