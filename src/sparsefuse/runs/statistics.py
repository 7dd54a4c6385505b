"""Statistics of answers: right and wrong ones in; accuracies of resampled experiments, intervals, verdicts out."""

import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

DRAWS = 10_000
LEVEL = 0.95

Verdict = Literal["holds", "does not hold", "undecided"]


class Interval(NamedTuple):
    """An effect with its 95 % confidence interval."""

    effect: float
    low: float
    high: float


def resampled(hits: Mapping[str, np.ndarray], *, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Accuracies (draws,) of each name, had other seeds been drawn and other clips been tested.

    `hits`: 1 for a right answer, (S, N) for S seeds and N clips, the same for all names. Seeds and clips are drawn with
    replacement, independently of each other and the same ones for all names (paired, two-way bootstrap).
    """
    (shape,) = {hit.shape for hit in hits.values()}
    seeds, clips = _shares(shape, draws, seed)
    return {name: ((seeds @ hit) * clips).sum(1) for name, hit in hits.items()}


@lru_cache(maxsize=2)
def _shares(shape: tuple[int, int], draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed (draws, S) and each clip (draws, N) is drawn, as shares; cached, since drawing is slow."""
    rng = np.random.default_rng(seed)
    seeds, clips = (rng.multinomial(n, np.full(n, 1 / n), size=draws) / n for n in shape)
    return seeds, clips


def interval(effect: float, draws: np.ndarray) -> Interval:
    """The effect with the middle 95 % of its draws."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(effect, float(low), float(high))


def gain(effect: Interval, margin: float) -> Verdict:
    """Whether an effect is positive: its interval is above 0; not if its interval is below the margin."""
    if effect.low > 0:
        return "holds"
    return "does not hold" if effect.high < margin else "undecided"


def no_loss(effect: Interval, margin: float) -> Verdict:
    """Whether an effect is no loss: its interval is above -margin; not if its interval is below -margin."""
    if effect.low > -margin:
        return "holds"
    return "does not hold" if effect.high < -margin else "undecided"


def small(effect: Interval, margin: float) -> Verdict:
    """Whether a range of 0 or more is below the margin; not if its interval is above."""
    if effect.high < margin:
        return "holds"
    return "does not hold" if effect.low > margin else "undecided"


def all_of(verdicts: list[Verdict]) -> Verdict:
    """The verdict of a claim in several parts: it holds if all hold, and does not if one does not."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if set(verdicts) == {"holds"} else "undecided"


class Bin(NamedTuple):
    """Clips of similar confidence."""

    clips: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, right: np.ndarray, *, bins: int = 15) -> list[Bin]:
    """The clips in bins of equal width by confidence (n,); empty bins are left out."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        Bin(int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for inside in (place == i for i in range(bins))
        if inside.any()
    ]


def calibration_error(bins: list[Bin]) -> float:
    """ECE: by how much confidence and accuracy differ, the mean over clips (Guo et al. 2017, eq. 3)."""
    total = sum(one.clips for one in bins)
    return sum(one.clips * abs(one.accuracy - one.confidence) for one in bins) / total


def area(levels: list[float], values: list[float]) -> float:
    """Mean height of a curve over its levels, by the trapezoid rule."""
    parts = zip(itertools.pairwise(levels), itertools.pairwise(values), strict=True)
    return sum((b - a) * (u + v) / 2 for (a, b), (u, v) in parts) / (levels[-1] - levels[0])
