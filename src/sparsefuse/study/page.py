"""A study's folder in; its tables in Markdown and CSV, and one HTML page that opens from disk, out. Needs no torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from sparsefuse.files.whole import write_text
from sparsefuse.report import charts
from sparsefuse.report.page import commands, confusions, environment, render, table_warnings
from sparsefuse.runs.summary import Stat, spread
from sparsefuse.study.claims import claims
from sparsefuse.study.results import Place, Results
from sparsefuse.study.tables import Levels, bins, levels, missing, tables

COSTS = {
    "gmacs": "GMACs per clip, log scale",
    "memory_mb": "memory of a training step, MB per clip, log scale",
    "latency_ms": "latency of one clip, ms, log scale",
}


def write_page(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes the page (`<folder>/report.html`) and, beside it, study.md, a CSV per table, f2.svg; returns the page."""
    folder = Path(folder)
    out = Path(out) if out else folder / "report.html"
    results = Results(folder)
    judged = claims(results)
    all_tables = tables(results, judged)
    for name, table in all_tables.items():
        write_text(folder / f"{name}.csv", table.csv())
    warnings = table_warnings(list(results.rows.values()))
    parts = [
        _lead(results),
        *(f"## {t.title}\n\n{t.markdown()}" for t in all_tables.values()),
        *(f"Warning: {w}.\n" for w in warnings),
    ]
    write_text(folder / "study.md", "\n".join(parts))
    figures = _figures(results)
    if results.curves("f2"):
        write_text(folder / "f2.svg", charts.standalone(_reduction(results, legend=True)))
    page = render(
        "study/page.html.j2",
        title=folder.resolve().parent.name if folder.name == "study" else folder.resolve().name,
        lead=_lead(results),
        missing=missing(results.unfinished),
        claims=judged,
        tables=all_tables,
        figures=figures,
        confusions=confusions(_groups(results, "t1"), _classes(results)),
        environment=environment(results.finished),
        commands=commands(results.finished),
        margin=results.margin,
        warnings=warnings,
    )
    write_text(out, page)
    return out


def _lead(results: Results) -> str:
    finished = results.finished
    first = finished[0].result
    sizes = ", ".join(f"{count} {split}" for split, count in first.splits.items())
    seconds = sum(run.result.seconds for run in finished)
    return (
        f"{len(results.by_name)} variants in {len(finished)} runs on {first.data}: {len(first.classes)} classes, "
        f"clips: {sizes}. Mean ± standard deviation over seeds; validation chose the checkpoints, the test clips were "
        f"scored once. Training took {seconds / 60:.0f} core minutes.\n"
    )


def _groups(results: Results, experiment: str) -> dict[str, list]:
    return {place.name: results.by_name[place.name] for place in results.places(experiment)}


def _classes(results: Results) -> list[str]:
    return results.finished[0].result.classes


def _figures(results: Results) -> Mapping[str, object]:
    """Every figure with the names of its curves, in the order of their colours."""
    figures: dict[str, object] = {}
    names = [place.name for place in results.places("t1")]
    for part, label in COSTS.items():
        points = [
            charts.Point(name, getattr(results.rows[name], part), *_scaled(results.top1(name)), i)
            for i, name in enumerate(names)
            if getattr(results.rows[name], part)
        ]
        if points:
            figures[part] = charts.TradeOff(points, "Top-1 on the test split, %", label).svg()
    curves = results.curves("f2")
    if curves:
        figures["f2"] = (_reduction(results), list(curves))
    degraded = {name: levels(results, name) for name in (place.name for place in results.places("robustness"))}
    figures["robustness"] = [
        (modality, _degradation(degraded, modality, names))
        for modality in results.modalities
        if any(key[0] == modality for keys in degraded.values() for key in keys)
    ]
    if names:
        figures["reliability"] = charts.reliability({name: _reliability(results, name) for name in names}, names)
        figures["names"] = names
    return figures


def _reduction(results: Results, *, legend: bool = False) -> str:
    """Figure 2: absolute and relative."""
    curves = results.curves("f2")
    panels = {"Top-1, %": _absolute(results, curves), "Change from no reduction, %": _relative(results, curves)}
    scale = {"xlabel": "tokens pooled into one", "ylabel": "", "powers_of_two": True}
    return charts.lines(panels, list(curves), legend=legend, **scale)


def _absolute(results: Results, curves: dict[str, list[Place]]) -> dict[str, charts.Curve]:
    lines = {}
    for curve, places in curves.items():
        stats = results.paired_top1(*(place.name for place in places))
        lines[curve] = _curve([p.factor for p in places], [_scaled(stats[p.name]) for p in places])
    return lines


def _relative(results: Results, curves: dict[str, list[Place]]) -> dict[str, charts.Curve]:
    """Each seed against itself without reduction."""
    lines = {}
    for curve, places in curves.items():
        if places[0].factor != 1:
            continue
        hits = results.hits(*(place.name for place in places))
        shares = {name: right.mean(1) for name, right in hits.items()}
        unreduced = shares[places[0].name]
        stats = [
            spread([100 * (x / w - 1) for x, w in zip(shares[p.name], unreduced, strict=True) if w]) for p in places
        ]
        lines[curve] = _curve([p.factor for p in places], [(stat.mean, stat.std) for stat in stats])
    return lines


def _degradation(degraded: Mapping[str, Levels], modality: str, names: list[str]) -> str:
    """One panel per kind that has more than one level."""
    panels: dict[str, dict[str, charts.Curve]] = {}
    titles = {"noise": "noise, standard deviations", "dropped": "share of tokens dropped"}
    for kind, title in titles.items():
        for name, curves in degraded.items():
            curve = curves.get((modality, kind))
            if curve:
                stats = [_scaled(spread(curve[level])) for level in sorted(curve)]
                panels.setdefault(title, {})[name] = _curve(sorted(curve), stats)
    return charts.lines(panels, names, xlabel="", ylabel="Top-1, %")


def _reliability(results: Results, name: str) -> tuple[list[float], list[float]]:
    confidence_bins = bins(results, name)
    return [one.confidence for one in confidence_bins], [one.accuracy for one in confidence_bins]


def _scaled(stat: Stat) -> tuple[float, float | None]:
    """In percent."""
    return 100 * stat.mean, None if stat.std is None else 100 * stat.std


def _curve(x: Iterable[float], stats: list[tuple[float, float | None]]) -> charts.Curve:
    return charts.Curve([float(value) for value in x], [mean for mean, _ in stats], [std or 0.0 for _, std in stats])
