"""Extra trees (Geurts et al. 2006) by scikit-learn: rows of numbers and labels in; the arrays of `model.Trees` out."""

from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.labels import Labels

TREES = 100
MOST = 4_000_000
"""numbers in all leaves"""


class Forest(NamedTuple):
    """Trees as arrays."""

    options: dict[str, object]
    """of `model.build`"""
    arrays: dict[str, np.ndarray]
    """by the names of the parameters of `model.Trees`"""


def forest(x: np.ndarray, y: np.ndarray, labels: Labels, *, seed: int, balanced: bool) -> Forest:
    """Fitted to rows `x` (n, S) and labels `y` as `Labels.encode` gives them."""
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    spec: dict[str, Any] = {"n_estimators": TREES, "random_state": seed, "max_features": "sqrt"}
    most = max(MOST // (TREES * labels.num_outputs), 64)
    spec["max_leaf_nodes"] = max(2, min(most, len(x)))  # room is made for as many
    if labels.task == "regression":
        trees = ExtraTreesRegressor(**spec).fit(x, y)
    else:
        weighed = "balanced" if balanced else None
        trees = ExtraTreesClassifier(class_weight=weighed, **spec).fit(x, y.astype(int))
    grown = [tree.tree_ for tree in trees.estimators_]
    leaves = max(2, *(int((tree.feature < 0).sum()) for tree in grown))
    depth = max(1, *(tree.max_depth for tree in grown))
    arrays = [_arrays(tree, leaves, _shares(tree.value, trees, labels)) for tree in grown]
    task: str = {"regression": "value", "multilabel": "logit"}.get(labels.task, "log")
    options: dict[str, object] = {"trees": TREES, "leaves": leaves, "depth": depth, "outputs": task}
    return Forest(options, {name: np.stack([each[name] for each in arrays]) for name in arrays[0]})


def _shares(value: np.ndarray, trees: Any, labels: Labels) -> np.ndarray:
    """(nodes, outputs, classes that occur) -> (nodes, C); a class that does not occur has share 0."""
    if labels.task == "regression":
        return value[:, 0]
    each = trees.classes_ if trees.n_outputs_ > 1 else [trees.classes_]
    shares = np.zeros((len(value), labels.num_outputs))
    if labels.task == "multilabel":
        for column, classes in enumerate(each):
            shares[:, column] = value[:, column, : len(classes)] @ classes  # of classes 0 and 1, the share of 1
        return shares
    for head, (span, classes) in enumerate(zip(labels.groups.values(), each, strict=True)):
        shares[:, span.start + classes] = value[:, head, : len(classes)]
    return shares


def _arrays(tree: Any, leaves: int, shares: np.ndarray) -> dict[str, np.ndarray]:
    """A tree's nodes in the order of `model.Trees`."""
    inner = tree.feature >= 0
    place = np.where(inner, np.cumsum(inner) - 1, leaves - 2 + np.cumsum(~inner))  # old number -> new
    if not inner.any():  # one leaf alone: the root compares nothing and leads to it
        return {"value": _padded(shares, leaves), **_filled(leaves, leaves - 1)}
    threshold = tree.threshold[inner].astype(np.float32)
    above = threshold > tree.threshold[inner]  # rounded up, it would let values through that are larger
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    found = {"threshold": threshold, "feature": tree.feature[inner]}
    found |= {"below": place[tree.children_left[inner]], "above": place[tree.children_right[inner]]}
    return {"value": _padded(shares[~inner], leaves)} | {k: _padded(v, leaves - 1) for k, v in found.items()}


def _filled(leaves: int, first: int) -> dict[str, np.ndarray]:
    found = {"threshold": np.zeros(leaves - 1, np.float32), "feature": np.zeros(leaves - 1, np.int32)}
    return found | {name: np.full(leaves - 1, first, np.int32) for name in ("below", "above")}


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    """With zeros to `length` rows; in 32 bits."""
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    out = np.zeros((length, *array.shape[1:]), kind)
    out[: len(array)] = array
    return out
