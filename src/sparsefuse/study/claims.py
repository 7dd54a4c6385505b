"""The claims of the SFT paper, judged on a study's runs: effects with intervals in, verdicts out."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from sparsefuse.runs.statistics import Interval, Verdict, all_of, gain, interval, no_loss, resampled, small
from sparsefuse.study.plan import REDUCTION
from sparsefuse.study.results import Results

BASELINES = ("concat", "late", "mult", "mbt", "mbt + mixup")
FRACTION = 0.5
"""SFT must cost at most this share of the best baseline's multiply-adds for claim a."""

Values = Mapping[str, np.ndarray]
"""Accuracies per variant: () as measured, or (draws,) resampled"""


class Effect(NamedTuple):
    """A measured part of a claim, in shares (0.01 = one point)."""

    text: str
    interval: Interval
    verdict: Verdict
    seeds: int


class Claim(NamedTuple):
    """A claim of the paper, and its verdict on this data."""

    letter: str
    sentence: str
    effects: list[Effect]
    verdict: Verdict
    note: str = ""


def claims(results: Results) -> list[Claim]:
    """All claims whose runs are finished."""
    makers = (_as_good, _reduction, _tolerance, _mixup, _pooling, _attention)
    return [claim for make in makers if (claim := make(results)) is not None]


def _as_good(results: Results) -> Claim | None:
    sentence = "SFT is within noise of the best baseline at a fraction of its cost."
    baselines = [name for name in BASELINES if name in results.by_name]
    if "sft" not in results.by_name or not baselines:
        return None
    best = max(baselines, key=results.valid_top1)  # the test split chooses nothing
    effect = _effect(results, f"top-1 of sft minus {best}", no_loss, lambda v: v["sft"] - v[best], "sft", best)
    share = (results.rows["sft"].gmacs or 0) / (results.rows[best].gmacs or 1)
    verdict: Verdict = effect.verdict if share <= FRACTION else "does not hold"
    note = f"{best} is the best baseline on the validation clips; sft needs {share:.2g} of its multiply-adds."
    return Claim("a", sentence, [effect], verdict, note)


def _reduction(results: Results) -> Claim | None:
    sentence = f"Reducing tokens {REDUCTION}-fold costs SFT nothing, and costs concat and late something."
    pairs = {method: _points(results, "t3", method) for method in ("sft", "concat", "late")}
    if not all(pairs.values()):
        return None
    effects = []
    for method, points in pairs.items():
        full, reduced = points[1], points[REDUCTION]
        if method == "sft":
            text = "top-1 of sft, reduced minus whole"
            effects.append(_effect(results, text, no_loss, _difference(reduced, full), full, reduced))
        else:
            text = f"top-1 of {method}, whole minus reduced"
            effects.append(_effect(results, text, gain, _difference(full, reduced), full, reduced))
    return Claim("b", sentence, effects, all_of([effect.verdict for effect in effects]))


def _tolerance(results: Results) -> Claim | None:
    sentence = "The multimodal model tolerates more reduction than any single modality."
    mine = _points(results, "f2", "sft")
    others = {name: _points(results, "f2", f"unimodal ({name})") for name in results.modalities}
    if not mine or not all(others.values()):
        return None
    above_chance = {name: points for name, points in others.items() if _above_chance(results, points[1])}
    left_out = [name for name in others if name not in above_chance]
    note = f"Left out: {', '.join(left_out)}, which alone is no better than chance." if left_out else ""
    if not above_chance:
        return Claim("c", sentence, [], "undecided", note)
    names = [name for points in (mine, *above_chance.values()) for name in points.values()]

    def least(values: Values) -> np.ndarray:
        return np.min([kept(values, mine) - kept(values, points) for points in above_chance.values()], axis=0)

    text = "share of top-1 kept over all factors, sft minus the most tolerant modality"
    effect = _effect(results, text, gain, least, *names)
    return Claim("c", sentence, [effect], effect.verdict, note)


def _mixup(results: Results) -> Claim | None:
    sentence = "Multimodal manifold mixup helps."
    pair = [place.name for place in results.places("t5")]
    if len(pair) < 2:
        return None
    text = "top-1 of sft with mixup minus without (dropout 0.2 in its place)"
    effect = _effect(results, text, gain, _difference(*pair), *pair)
    return Claim("d", sentence, [effect], effect.verdict)


def _pooling(results: Results) -> Claim | None:
    sentence = "The type of pooling hardly matters."
    names = [place.name for place in results.places("t4")]
    if not names or len(names) < len(results.plan["t4"]):
        return None

    def spread(values: Values) -> np.ndarray:
        return np.ptp([values[name] for name in names], axis=0)

    effect = _effect(results, "top-1 of the best pooling minus the worst", small, spread, *names)
    return Claim("e", sentence, [effect], effect.verdict)


def _attention(results: Results) -> Claim | None:
    sentence = "SFT tolerates more reduction than SFT-PO, which pools without sparse attention and mixup."
    mine, other = _points(results, "f2", "sft"), _points(results, "f2", "sft-po")
    if not mine or not other:
        return None
    text = "share of top-1 kept over all factors, sft minus sft-po"
    names = [*mine.values(), *other.values()]
    effect = _effect(results, text, gain, lambda v: kept(v, mine) - kept(v, other), *names)
    return Claim("f", sentence, [effect], effect.verdict)


def kept(values: Values, points: Mapping[int, str]) -> np.ndarray:
    """The share of the accuracy without reduction that is retained, the mean over all factors above 1."""
    unreduced = np.maximum(values[points[1]], 1e-9)
    return np.mean([values[name] / unreduced for factor, name in points.items() if factor > 1], axis=0)


def _points(results: Results, experiment: str, curve: str) -> dict[int, str]:
    """Factor -> variant of a curve; empty unless all its variants are finished."""
    planned = [place for place in results.plan.get(experiment, []) if place.curve == curve]
    finished = all(place.name in results.by_name for place in planned)
    return {place.factor: place.name for place in planned} if finished else {}


def _difference(a: str, b: str) -> Callable[[Values], np.ndarray]:
    return lambda values: values[a] - values[b]


def _effect(
    results: Results,
    text: str,
    judge: Callable[[Interval, float], Verdict],
    statistic: Callable[[Values], np.ndarray],
    *names: str,
) -> Effect:
    """A statistic of accuracies as measured, its interval over seeds and clips, and the verdict."""
    hits = results.hits(*names)
    measured = {name: hit.mean() for name, hit in hits.items()}
    estimate = interval(float(statistic(measured)), statistic(resampled(hits)))
    return Effect(text, estimate, judge(estimate, results.margin), len(next(iter(hits.values()))))


def _above_chance(results: Results, name: str) -> bool:
    """Whether a variant is significantly better than predicting the most frequent class."""
    labels = [np.array(run.result.confusion) for run in results.by_name[name]]
    commonest = max(float(np.max(np.sum(counts, 1)) / np.sum(counts)) for counts in labels)
    hits = results.hits(name)
    return interval(float(hits[name].mean()), resampled(hits)[name]).low > commonest
