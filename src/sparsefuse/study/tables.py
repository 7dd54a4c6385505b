"""A study's results in; its tables out, as titles and cells of text: one source for the page, Markdown and CSV."""

import statistics
from collections.abc import Iterable

import numpy as np

from sparsefuse.report.page import percent, significant
from sparsefuse.report.table import Table
from sparsefuse.runs.statistics import Interval, area, calibration_error, reliability
from sparsefuse.runs.summary import Stat, spread
from sparsefuse.study import paper
from sparsefuse.study.claims import Claim
from sparsefuse.study.results import Results

NONE = "\N{EN DASH}"


def tables(results: Results, claims: list[Claim]) -> dict[str, Table]:
    """All tables whose runs are finished, by the names of their files."""
    makers = {"t1": accuracy, "t2": cost, "t3": reduction, "t4": pooling, "t5": mixup, "f2": factors}
    makers |= {"robustness": robustness, "calibration": calibration}
    every = {"claims": judged(results, claims)} | {name: make(results) for name, make in makers.items()}
    return {name: table for name, table in every.items() if table.lines}


def judged(results: Results, claims: list[Claim]) -> Table:
    """Every claim with its effects, intervals and verdict."""
    lines = []
    for claim in claims:
        if not claim.effects:
            lines.append([f"{claim.letter}. {claim.sentence}", NONE, NONE, "", claim.verdict, NONE])
        for i, effect in enumerate(claim.effects):
            lines.append(
                [f"{claim.letter}. {claim.sentence}" if i == 0 else "", effect.text, points(effect.interval),
                 effect.verdict if len(claim.effects) > 1 else "", claim.verdict if i == 0 else "", str(effect.seeds)]
            )  # fmt: skip
    note = "Effects in points, with 95 % intervals over seeds and test clips (paired bootstrap). "
    note += f"A difference below {100 * results.margin:g} points counts as no difference. "
    note += " ".join(claim.note for claim in claims if claim.note)
    head = ["Claim", "Effect", "Points [95 %]", "Part", "Verdict", "Seeds"]
    return Table("Claims", head, lines, note)


def accuracy(results: Results) -> Table:
    """Table 1: top-1 and mAP, beside the paper's top-1 on its data."""
    lines = []
    for place in results.places("t1"):
        row = results.rows[place.name]
        reported = paper.ACCURACY.get(place.name, ())
        mine = [percent(row.metrics.get(metric)) for metric in ("top1", "map")]
        lines.append([place.name, str(row.n), *mine, *(str(r) for r in reported or [NONE] * len(paper.DATA))])
    head = ["Method", "n", "Top-1 %", "mAP %", *(f"paper: {name}" for name in paper.DATA)]
    return Table("Accuracy (table 1)", head, lines, _OTHER)


def cost(results: Results) -> Table:
    """Table 2: what a clip costs, beside the paper's multiply-adds at its shapes."""
    lines = []
    sft = results.rows["sft"].gmacs if "sft" in results.rows else None
    for place in results.places("t2"):
        row = results.rows[place.name]
        relative = f"{significant(row.gmacs / sft, 2)}\N{MULTIPLICATION SIGN}" if row.gmacs and sft else NONE
        reported = [f"{value:g}" for value in paper.GMACS.get(place.name, ())] or [NONE] * 2
        mine = [significant(value) for value in (row.gmacs, row.memory_mb, row.latency_ms)]
        lines.append([place.name, mine[0], relative, *mine[1:], f"{row.parameters:,.0f}", *reported])
    head = ["Method", "GMACs", "x sft", "Memory MB", "Latency ms", "Parameters", "paper: VGGS", "paper: MOSEI"]
    return Table("Cost (table 2)", head, lines, "Memory: a training step, per clip. Latency: one clip. " + _OTHER)


def reduction(results: Results) -> Table:
    """Table 3: whole against 64-fold."""
    lines = []
    for method, places in results.curves("t3").items():
        if len(places) == 2:
            mine = list(results.paired_top1(*(place.name for place in places)).values())
            reported = paper.REDUCTION[method]
            change, theirs = mine[1].mean - mine[0].mean, reported[1].mean - reported[0].mean
            lines.append([method, *map(percent, mine), f"{100 * change:+.1f}", *map(str, reported), f"{theirs:+.2f}"])
    head = ["Method", "Top-1 %", "reduced 64-fold", "Change", "paper: VGGS100", "reduced 64-fold", "Change"]
    return Table("Reduction by 64 (table 3)", head, lines, _OTHER)


def pooling(results: Results) -> Table:
    """Table 4: the types of pooling."""
    mine = _side_by_side(results, "t4")
    lines = [[curve, percent(stat), *map(str, paper.POOLING[curve])] for curve, stat in mine.items()]
    head = ["Pooling", "Top-1 %", *(f"paper: {name}" for name in paper.DATA)]
    return Table("Pooling (table 4)", head, lines, _OTHER)


def mixup(results: Results) -> Table:
    """Table 5: with and without mixup."""
    mine = _side_by_side(results, "t5")
    lines = [[curve, percent(stat), str(paper.MIXUP[curve])] for curve, stat in mine.items()]
    return Table("Mixup (table 5)", ["sft with", "Top-1 %", "paper: VGGS100"], lines, _OTHER)


def _side_by_side(results: Results, experiment: str) -> dict[str, Stat]:
    """Top-1 by curve, over the seeds that all of them have."""
    places = results.places(experiment)
    mine = results.paired_top1(*(place.name for place in places)) if places else {}
    return {place.curve: mine[place.name] for place in places}


def factors(results: Results) -> Table:
    """Figure 2 in numbers: top-1 by reduction factor."""
    curves = results.curves("f2")
    all_factors = sorted({place.factor for places in curves.values() for place in places})
    lines = []
    for curve, places in curves.items():
        mine = results.paired_top1(*(place.name for place in places))
        by_factor = {place.factor: percent(mine[place.name]) for place in places}
        lines.append([curve, *(by_factor.get(factor, NONE) for factor in all_factors)])
    return Table("Reduction factor (figure 2)", ["Top-1 %", *map(str, all_factors)], lines)


def robustness(results: Results) -> Table:
    """The area under each curve: the mean accuracy over all levels of a degradation."""
    columns = list(dict.fromkeys(key for place in results.places("robustness") for key in levels(results, place.name)))
    lines = []
    for place in results.places("robustness"):
        curves = levels(results, place.name)
        cells = [f"{100 * _area(curves[key]):.1f}" if key in curves else NONE for key in columns]
        lines.append([place.name, percent(results.top1(place.name)), *cells])
    head = ["Method", "not degraded", *(f"{modality}: {kind}" for modality, kind in columns)]
    note = (
        "Top-1 in percent: the mean over all levels from none to the worst (area under the curve); missing: without it."
    )
    return Table("Robustness", head if lines else [], lines if columns else [], note)


def calibration(results: Results) -> Table:
    """Expected calibration error, mean over runs."""
    lines = []
    for place in results.places("t1"):
        errors = [calibration_error(bins(results, place.name, seed)) for seed in results.rows[place.name].seeds]
        lines.append([place.name, percent(spread(errors))])
    note = "Expected calibration error in points (15 bins): by how much confidence and accuracy differ."
    return Table("Calibration", ["Method", "ECE"], lines, note)


def bins(results: Results, name: str, seed: int | None = None) -> list:
    """The reliability bins of a variant: one seed's, or all seeds' together."""
    predicted = [results.answers(run) for run in results.by_name[name] if seed is None or run.result.seed == seed]
    confidence = np.concatenate([list(answers.confidence.values()) for answers in predicted])
    right = np.concatenate([list(answers.right.values()) for answers in predicted])
    return reliability(confidence, right)


Levels = dict[tuple[str, str], dict[float, list[float]]]
"""(modality, kind) -> level -> top-1 of every run"""


def levels(results: Results, name: str) -> Levels:
    """The accuracies of a variant under degradation."""
    curves: Levels = {}
    for run in results.robustness(name):
        for point in run:
            curve = curves.setdefault((point.modality, point.kind), {})
            curve.setdefault(point.level, []).append(point.top1)
    return curves


def points(effect: Interval) -> str:
    """`+1.2 [-0.3, +2.5]`, in points."""
    return f"{100 * effect.effect:+.1f} [{100 * effect.low:+.1f}, {100 * effect.high:+.1f}]"


def _area(curve: dict[float, list[float]]) -> float:
    """The area under the curve; the accuracy at the worst level for a kind with fewer than three levels."""
    heights = {level: statistics.fmean(values) for level, values in curve.items()}
    ordered = sorted(heights)
    return heights[ordered[-1]] if len(ordered) < 3 else area(ordered, [heights[level] for level in ordered])


def missing(names: Iterable[str]) -> str:
    """A sentence on the unfinished variants."""
    names = list(names)
    return f"{len(names)} variants have no finished run yet: {', '.join(names)}." if names else ""


_OTHER = "The paper's numbers are on other data: compare the ranking, not the values."
