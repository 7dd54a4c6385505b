"""Fits the baseline: clips in; logistic regression or extra trees out, whichever is better on the validation clips."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.baseline.linear import linear
from sparsefuse.baseline.model import Fit, Standardised, joined
from sparsefuse.baseline.trees import Forest, forest
from sparsefuse.data.batches import collate
from sparsefuse.data.clips import Clips
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.extras import need
from sparsefuse.model import FusionModel

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""inverses of the penalty that are tried (scikit-learn's C)"""
UNCHOSEN = 1e-2
"""the one without validation clips"""
BATCH = 64


class Fitted(NamedTuple):
    """The chosen model."""

    model: FusionModel
    options: dict[str, object]
    """what `build` needs to make one like it"""
    text: str
    """`logistic regression, C=0.01`"""


def fit(
    clips: Clips,
    make: Callable[..., FusionModel],
    rank: Callable[[FusionModel], tuple[float, float]] | None,
    *,
    seed: int,
    balanced: bool = False,
    kind: Fit = "auto",
    strength: float = 0.0,
) -> Fitted:
    """`make` builds a model with options of `baseline.model.build`; `rank` is how good one is on the validation clips,
    if there are any: else it is a linear layer, unless `kind` says trees. `balanced`: clips count as their class is
    rare. `strength`: that of a linear layer, 0 = to be chosen. Raises ImportError without scikit-learn."""
    need("sklearn", "baseline", "baseline")
    strengths = [] if kind == "trees" else [strength] if strength else STRENGTHS if rank else [UNCHOSEN]
    trees = kind == "trees" or (kind == "auto" and rank is not None and not strength)
    candidates = _candidates(clips, make, strengths, trees=trees, seed=seed, balanced=balanced)
    if rank is None:
        return next(candidates)
    return max(candidates, key=lambda fitted: rank(fitted.model))


def _candidates(
    clips: Clips,
    make: Callable[..., FusionModel],
    strengths: Sequence[float],
    *,
    trees: bool,
    seed: int,
    balanced: bool,
) -> Iterator[Fitted]:
    from sklearn.exceptions import ConvergenceWarning

    first = make()
    x, mean, scale = _rows(first, clips)
    train = clips.splits["train"]
    labels = torch.stack([train.labels.encode(row.label) for row in train.rows]).numpy()

    def ready(model: FusionModel) -> FusionModel:
        model.head.mean.copy_(mean)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        model.head.scale.copy_(scale)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        return model

    for strength in strengths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # where it stops is judged on validation clips, too
            weight, bias = linear(x.numpy(), labels, clips.labels, strength, balanced=balanced)
        model = ready(make())
        with torch.no_grad():
            model.head.decide.weight.copy_(torch.from_numpy(weight))  # pyright: ignore
            model.head.decide.bias.copy_(torch.from_numpy(bias))  # pyright: ignore
        kind = "ridge regression" if clips.labels.task == "regression" else "logistic regression"
        yield Fitted(model, {"kind": "linear", "strength": strength}, f"{kind}, C={strength}")
    if not trees:
        return
    grown: Forest = forest(x.numpy(), labels, clips.labels, seed=seed, balanced=balanced)
    model = ready(make(**grown.options))
    with torch.no_grad():
        for name, array in grown.arrays.items():
            getattr(model.head.decide, name).copy_(torch.from_numpy(array))  # pyright: ignore
    yield Fitted(model, {"kind": "trees", **grown.options}, f"{grown.options['trees']} extra trees")


def _rows(model: FusionModel, clips: Clips) -> tuple[Tensor, Tensor, Tensor]:
    """What the classifier sees of the training clips (n, S); the mean and the inverse deviation (S,) of each number
    among the clips that have its stream."""
    x, there = rows_of(model, clips.splits["train"])
    count = there.double().sum(0).clamp_min(1)
    mean = x.double().sum(0) / count
    std = ((x - mean).square() * there).sum(0).div(count).sqrt()
    scale = torch.where(std > 1e-6 * (1 + mean.abs()), 1 / std, 0.0)
    return ((x - mean) * scale * there).float(), mean.float(), scale.float()


@torch.inference_mode()
def rows_of(model: FusionModel, data: ClipDataset) -> tuple[Tensor, Tensor]:
    """Statistics of clips (n, S), 0 of a stream that one lacks; and 1 where it has the stream."""
    head = model.head
    assert isinstance(head, Standardised)
    device = next(model.parameters()).device
    parts = []
    for begin in range(0, len(data), BATCH):
        batch = collate([data[i] for i in range(begin, min(begin + BATCH, len(data)))], model.features)
        tokens = {name: type(t)(t.x.to(device), t.mask.to(device)) for name, t in batch.tokens.items()}
        parts.append([part.cpu() for part in joined(model.embed(tokens), head.names)])
    x, there = (torch.cat(each) for each in zip(*parts, strict=True))
    return x, there
