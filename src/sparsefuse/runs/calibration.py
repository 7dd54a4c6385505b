"""Temperature scaling (Guo et al. 2017): validation logits and labels in, one temperature out.

Logits divided by it have the lowest validation loss that a single number can give; the likeliest class stays. The
labels of n clips are smoothed by 1/(n + 1), as if there were one more clip with an unknown label (Platt 1999, for two
classes): with few clips, all predicted correctly, the best temperature would otherwise be 0. With several labels or
heads all classes and heads share one temperature. Regression has none.
"""

import math
from collections.abc import Callable

from torch import Tensor

from sparsefuse import metrics
from sparsefuse.data.labels import Labels
from sparsefuse.runs.records import Calibration

RANGE = (0.05, 20.0)
"""Temperatures that are tried."""
_STEPS = 60  # golden section: the interval shrinks to 0.618^60, far below the resolution of the loss


def calibrate(logits: Tensor, labels: Tensor, label_set: Labels) -> Calibration | None:
    """The temperature that is best for logits (n, C) of these labels; None for regression, or without clips."""
    if label_set.task == "regression" or not len(labels):
        return None
    logits, labels = logits.float().cpu(), labels.cpu()
    smoothing = 1 / (len(labels) + 1)
    if label_set.task == "multilabel":
        labels = (1 - smoothing) * labels + smoothing / 2

    def loss(log: float) -> float:
        each = metrics.losses(
            logits / math.exp(log), labels, label_set.task, heads=label_set.heads, label_smoothing=smoothing
        )
        return float(each.double().mean())

    before = loss(0.0)
    best = _golden(loss, *map(math.log, RANGE))
    if loss(best) >= before:
        best = 0.0
    return Calibration(math.exp(best), len(labels), before, loss(best))


def _golden(loss: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a unimodal function; cross entropy is one in the logarithm of the temperature's inverse.

    Golden section: no derivative, no step size, the same answer on every machine.
    """
    ratio = (math.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    for _ in range(_STEPS):
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return (low + high) / 2
