"""Writes a report of `check` as one HTML page: problems, sizes, lengths and balance."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sparsefuse.data.check import Report
from sparsefuse.data.check.report import Histogram
from sparsefuse.data.check.rules import RULES
from sparsefuse.data.check.screen import summary
from sparsefuse.data.stems import in_yaml
from sparsefuse.files.whole import write_text
from sparsefuse.report import charts
from sparsefuse.report.charts import NUM_COLOURS, Look
from sparsefuse.report.page import render

NAMED = 40
"""Most classes that are drawn as a named bar each; more are drawn as a curve."""
ROWS = 100
"""Problems of one kind on the page; the JSON file holds all."""
_COLUMNS = 3
_SMALL = 4.6
"""Inches of a chart that a phone shows whole."""


def write_page(report: Report, out: Path, source: Path | None = None) -> Path:
    """Writes the page, whole. Its title is the name of `source`, the folder or table that the user gave, by default the
    manifest."""
    write_text(
        out,
        render(
            "report/check_page.html.j2",
            report=report,
            title=_title(source or Path(report.manifest)),
            summary=summary(report),
            kinds=report.by_kind(),
            rules=RULES,
            in_yaml=in_yaml,
            rows=ROWS,
            named=NAMED,
            classes=len(_totals(report)),
            balance=charts.svg(partial(_balance, report), salt="balance") if _totals(report) else "",
            panels=len(report.lengths),
            lengths=charts.svg(partial(_lengths, report), salt="lengths") if report.lengths else "",
        ),
    )
    return out


def _title(source: Path) -> str:
    """The name of a folder or table; that of its folder for a table called as many are, manifest.csv."""
    return (source.parent if source.stem == "manifest" else source).resolve().name


def _totals(report: Report) -> dict[str, int]:
    """Class -> samples over all splits, the largest first."""
    names = {name for counts in report.balance.values() for name in counts}
    totals = {name: sum(counts.get(name, 0) for counts in report.balance.values()) for name in names}
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _balance(report: Report, look: Look) -> Any:
    totals = _totals(report)
    return _bars(report, list(totals), look) if len(totals) <= NAMED else _curve(report, list(totals), look)


def _bars(report: Report, classes: list[str], look: Look) -> Any:
    """One bar a class, one part a split."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SMALL, 0.9 + 0.24 * len(classes)), layout="constrained")
    axes = figure.subplots()
    left = np.zeros(len(classes))
    for i, (split, counts) in enumerate(report.balance.items()):
        values = np.array([counts.get(name, 0) for name in classes])
        axes.barh(range(len(classes)), values, left=left, color=look.series[i % NUM_COLOURS], height=0.7, label=split)
        left += values
    axes.set_yticks(range(len(classes)), [name if len(name) <= 28 else f"{name[:27]}…" for name in classes])
    axes.margins(y=0.3 / len(classes))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    _finish(axes, "samples")
    return figure


def _curve(report: Report, classes: list[str], look: Look) -> Any:
    """Samples of each class, the largest class first, a line per split."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SMALL, 2.8), layout="constrained")
    axes = figure.subplots()
    for i, (split, counts) in enumerate(report.balance.items()):
        values = [counts.get(name, 0) for name in classes]
        if any(values):
            axes.plot(range(1, len(classes) + 1), values, color=look.series[i % NUM_COLOURS], lw=1.4, label=split)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("samples")
    _finish(axes, "classes, the largest first")
    return figure


def _finish(axes: Any, xlabel: str) -> None:
    axes.set_xlabel(xlabel)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)


def _lengths(report: Report, look: Look) -> Any:
    """A panel for each modality and column of media."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(report.lengths))
    rows = -(-len(report.lengths) // columns)
    figure = Figure(figsize=(7.2 if columns > 1 else _SMALL, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes, (name, histogram) in zip(panels, report.lengths.items(), strict=False):
        axes.set_title(name if len(name) <= 24 else f"{name[:23]}…", loc="left", fontsize=10, color=look.ink)
        _bins(axes, histogram, look.series[0])
        axes.set_xlabel("tokens" if name in report.modalities or name not in report.media else "seconds")
    for axes in panels[len(report.lengths) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel("clips")
    return figure


def _bins(axes: Any, histogram: Histogram, colour: str) -> None:
    edges = np.array(histogram.edges)
    axes.bar(edges[:-1], histogram.counts, width=np.diff(edges), align="edge", color=colour)
    axes.grid(axis="x", visible=False)
    axes.yaxis.get_major_locator().set_params(integer=True)
