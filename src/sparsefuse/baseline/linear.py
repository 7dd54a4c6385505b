"""Logistic (or ridge) regression by scikit-learn: rows of numbers and labels in; a weight and a bias per output out."""

import numpy as np

from sparsefuse.data.labels import Labels

ITERATIONS = 200
NEVER = -20.0
"""logit of a class that no training clip has"""


def linear(
    x: np.ndarray, y: np.ndarray, labels: Labels, strength: float, *, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(C, S) and (C,), for rows `x` (n, S) and labels `y` as `Labels.encode` gives them."""
    if labels.task == "regression":
        from sklearn.linear_model import Ridge

        ridge = Ridge(alpha=1 / strength).fit(x, y)
        return ridge.coef_[None], np.array([ridge.intercept_])
    if labels.task == "multilabel":
        each = [_logistic(x, column.astype(int), 2, strength, balanced=balanced) for column in y.T]
        return np.stack([w[1] - w[0] for w, _ in each]), np.array([b[1] - b[0] for _, b in each])
    columns = y if labels.task == "heads" else y[:, None]
    spans = labels.groups.values()
    each = [
        _logistic(x, column, len(span), strength, balanced=balanced)
        for column, span in zip(columns.T, spans, strict=True)
    ]
    return np.concatenate([w for w, _ in each]), np.concatenate([b for _, b in each])


def _logistic(
    x: np.ndarray, y: np.ndarray, classes: int, strength: float, *, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Of classes 0 to `classes` - 1, of which some may not occur."""
    from sklearn.linear_model import LogisticRegression

    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, NEVER)
    found = np.unique(y)
    if len(found) == 1:
        bias[found] = 0.0
        return weight, bias
    weighed = "balanced" if balanced else None
    fitted = LogisticRegression(C=strength, max_iter=ITERATIONS, class_weight=weighed).fit(x, y)
    two = len(found) == 2  # of two classes it gives the second's logit above the first's
    weight[found] = np.concatenate([-fitted.coef_, fitted.coef_]) / 2 if two else fitted.coef_
    bias[found] = np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2 if two else fitted.intercept_
    return weight, bias
