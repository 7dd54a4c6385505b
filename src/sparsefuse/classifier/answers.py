"""A model and clips in; predictions, and of these labels, probabilities and a score as scikit-learn has them, out."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsefuse.data.labels import parts
from sparsefuse.data.targets import Targets, array, targets_of
from sparsefuse.files.skipped import Unusable
from sparsefuse.shown import counted

if TYPE_CHECKING:
    from sparsefuse.data.labels import Labels
    from sparsefuse.inference.predictor import Clip, Prediction, Predictor

log = logging.getLogger(__name__)


def results_of(clips: "Sequence[Clip]", predictor: "Predictor") -> "list[Prediction | Unusable]":
    """For each clip its prediction, or why there is none; a warning counts the streams that cannot be read."""
    from sparsefuse.data.prepare import watched

    results = list(watched(predictor.results(clips), "predicting", total=len(clips)))
    lacking = []
    for place, result in enumerate(results):
        missing = {} if isinstance(result, Unusable) else result.missing
        lacking += [f"clip {place}: {name}: {why}" for name, why in missing.items() if why != "not given"]
    if lacking:
        log.warning("%s left out, which cannot be read; the first: %s", counted(len(lacking), "stream"), lacking[0])
    return results


def predictions_of(results: "Sequence[Prediction | Unusable]") -> "list[Prediction]":
    """All of them. Raises Unusable, naming the clip, for the first that there is none for."""
    found = []
    for place, result in enumerate(results):
        if isinstance(result, Unusable):
            hint = "; leave it out: each clip has an answer here (`sparsefuse predict` goes on with the others)"
            raise Unusable(f"clip {place}: {result}{hint if len(results) > 1 else ''}")
        found.append(result)
    return found


def readable(results: "Sequence[Prediction | Unusable]") -> list[int]:
    """The places of predictions; a warning counts the clips that there is none for. Raises ValueError if that is
    all."""
    lacking = [f"clip {place}: {result}" for place, result in enumerate(results) if isinstance(result, Unusable)]
    if len(lacking) == len(results):
        raise ValueError(f"none of {counted(len(results), 'clip')} can be read; the first: {lacking[0]}")
    if lacking:
        what = f"{counted(len(lacking), 'clip')} of {len(results)}"
        log.warning("%s left out of the score, which cannot be read; the first: %s", what, lacking[0])
    return [place for place, result in enumerate(results) if not isinstance(result, Unusable)]


def labels_of(predictions: "Sequence[Prediction]", labels: "Labels", targets: Targets) -> np.ndarray:
    """The label of each clip, of the type of `targets`; see `Classifier.predict`."""
    values = [targets.value(each.label, labels) for each in predictions]
    if targets.matrix:
        return np.array(values)
    return np.array(values, dtype=object) if labels.task == "heads" else array(values)


def probabilities_of(
    predictions: "Sequence[Prediction]", labels: "Labels", targets: Targets, classes: Any
) -> np.ndarray | list[np.ndarray]:
    """(n, C) in the order of the `classes`; see `Classifier.predict_proba`."""
    shares = np.array([list(each.probabilities.values()) for each in predictions])
    place = {name: i for i, name in enumerate(labels.classes)}
    if targets.matrix:  # training may have had no clip of a class
        known = [(column, place[str(column)]) for column in range(targets.matrix) if str(column) in place]
        columns, places = zip(*known, strict=True)
        whole = np.zeros((len(shares), targets.matrix))
        whole[:, columns] = shares[:, places]
        return whole
    if not labels.heads:
        return shares[:, [place[targets.text(value)] for value in classes]]
    each = [
        [place[f"{head}:{targets.text(value)}"] for value in values]
        for head, values in zip(labels.heads, classes, strict=True)
    ]
    return [shares[:, places] for places in each]


def score_of(found: np.ndarray, truth: Targets, labels: "Labels") -> float:
    """The share of clips of which all labels are found; for regression R^2, of labels that are all equal 1 if they are
    found and else 0, of one clip NaN, as scikit-learn's."""
    if labels.task == "regression":
        (values,) = truth.texts.values()
        true, said = np.array(values, dtype=float), found.astype(float)
        if len(true) < 2:
            log.warning("R^2 is not defined for one clip")
            return float("nan")
        missed, spread = ((true - said) ** 2).sum(), ((true - true.mean()) ** 2).sum()
        if (true == true[0]).all():  # rounding of the mean may leave a spread
            return float(missed == 0)
        return float(1 - missed / spread)
    answers = list(found.T) if labels.heads else targets_of(found).values()
    columns = zip(truth.texts.values(), answers, strict=True)
    right = [[_set(t) == _set(truth.text(a)) for t, a in zip(*column, strict=True)] for column in columns]
    return float(np.mean(np.all(right, axis=0)))


def _set(label: str) -> list[str]:
    """The classes that a label names, in whatever order."""
    return sorted(parts(label))
