"""A folder of run folders comes in; tables (terminal, Markdown, CSV) and one self-contained HTML page come out."""

import csv
import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.data.manifest import JOIN
from sparsefuse.files.whole import write_text
from sparsefuse.report import charts
from sparsefuse.report.choice import table_of_choice
from sparsefuse.report.findings import findings
from sparsefuse.report.table import Table
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.summary import (
    MAIN_METRIC,
    METRICS,
    Row,
    Run,
    Stat,
    by_name,
    epochs_chosen_by,
    every_class,
    losses,
    mean,
    metric,
    read_runs,
    summarise,
    taught,
)

if TYPE_CHECKING:
    from sparsefuse.report.pixels.section import Section

__all__ = [
    "percent",
    "read_runs",
    "runs_table",
    "significant",
    "summarise",
    "table_cells",
    "table_warnings",
    "write_report",
    "write_tables",
]

_SPLITS = {"test": "test", "valid": "validation"}
_NONE, _TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"


def runs_table(rows: list[Row], failed: Sequence[str] = ()) -> Table:
    """The table of a comparison, best method first; without any row, what failed."""
    if not rows:
        return Table("", ["Method"], [], failed=list(failed))
    titles, lines = table_cells(rows)
    shown, main = _shown_metrics(rows), rows[0].main
    place = 2 + shown.index(main) if main in rows[0].metrics else None
    fitting = [i for i in range(len(titles)) if i < 2 or i == place or i >= titles.index("GMACs")]
    return Table("", titles, lines, warnings=table_warnings(rows), failed=list(failed), main=place, fitting=fitting,
                 values=_unrounded(rows), chart=_trade_off(rows))  # fmt: skip


def write_tables(folder: Path, place: Path, failed: Sequence[str] = (), notes: Sequence[str] = ()) -> Table:
    """The table of all runs below `folder`; also as <place>.csv and <place>.md, with a page report.html beside it.
    `notes`: further warnings."""
    runs = read_runs(folder) if any(folder.glob("*/config.json")) else []
    if not any(run.outcome for run in runs):
        return runs_table([], failed)
    table = runs_table(summarise(runs), failed)
    lost = [f"{text}; the report names them"] if (text := losses(runs)) else []
    table = replace(table, findings=findings(runs), warnings=[*table.warnings, *lost, *notes])
    table.write(place)
    write_report(folder, place.with_name("report.html"))
    return table


def table_warnings(rows: list[Row]) -> list[str]:
    """`sft: the first of 20 epochs is the best (2 of 3 runs)`."""
    doubtful = [row for row in rows if row.doubt]
    names = ", ".join(row.name for row in doubtful) if len(doubtful) < len(rows) or len(rows) == 1 else "any method"
    no_latency = [f"no latency of {names}: {doubtful[0].doubt}"] if doubtful else []
    return [f"{row.name}: {warning}" for row in rows for warning in row.warnings] + no_latency


def _unrounded(rows: list[Row]) -> list[list[object]]:
    """Names of columns, then a line per row; None for what was not measured."""
    metrics = _shown_metrics(rows)
    valid = "valid_" if rows[0].split == "valid" else ""
    costs = [part for part in Row._fields[Row._fields.index("gmacs") :] if part != "reference"]
    stats = [f"{valid}{m}_{part}" for m in metrics for part in Stat._fields]
    lines: list[list[object]] = [["name", "n", "seeds", *stats, *costs, "warnings"]]
    for row in rows:
        values = [value for m in metrics for value in row.metrics.get(m, (None, None))]
        values += [*(getattr(row, c) for c in costs), "; ".join([*row.warnings, *filter(None, [row.doubt])])]
        lines.append([row.name, row.n, " ".join(map(str, row.seeds)), *values])
    return lines


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes one HTML page about the runs in `folder`, which opens offline; `<folder>/report.html`."""
    folder = Path(folder)
    out = Path(out) if out else folder / "report.html"
    runs = read_runs(folder)
    write_text(out, render("report/page.html.j2", **_page(folder, runs, summarise(runs))))
    return out


def render(template: str, **values: Any) -> str:
    """A template of the package, filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("sparsefuse", "."), autoescape=True, undefined=StrictUndefined,
                        trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    pages.filters |= {
        "sig": significant,
        "flags": _flags,
        "dump": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    }
    return pages.get_template(template).render(values)


def _flags(text: str) -> str:
    """Marked up so that no line ends within `--an-option`, where browsers break at the dashes."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"--[\w-]+", r'<span class="flag">\g<0></span>', str(escape(text))))


def table_cells(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """Titles and cells as text; units are in the titles."""
    metrics = _shown_metrics(rows)
    valid = "Valid " if rows[0].split == "valid" else ""
    units = [f"{valid}{metric(m).title}{' %' if metric(m).share else ''}" for m in metrics]
    encoded = any(row.features_gmacs for row in rows)
    costs = ["GMACs", f"{_TIMES} {rows[0].reference}", *["Features GMACs"] * encoded, "Parameters", "Memory MB"]
    boxes = rows[0].main == MAIN_METRIC["detect"]
    titles = ["Method", "n", *units, *costs, *["Seconds per 100"] * boxes, "Latency ms"]
    lines = []
    for row in rows:
        relative = _NONE if row.relative is None else f"{significant(row.relative, 2)}{_TIMES}"
        parameters = _NONE if row.parameters is None else f"{row.parameters:,.0f}"
        lines.append([row.name, str(row.n), *(_stat(m, row.metrics.get(m)) for m in metrics), significant(row.gmacs),
                      relative, *[significant(row.features_gmacs)] * encoded, parameters, significant(row.memory_mb),
                      *[significant(_per_hundred(row))] * boxes, significant(row.latency_ms)])  # fmt: skip
    return titles, lines


def _per_hundred(row: Row) -> float | None:
    """Seconds of a hundred scenes, as papers on detection count."""
    return None if row.latency_ms is None else row.latency_ms / 10


def percent(stat: Stat | None) -> str:
    """`91.2 ± 0.4`; no ± for one seed."""
    return _with_spread(stat, 100, 1)


def _stat(name: str, stat: Stat | None) -> str:
    """As `percent` for a share; with three decimals for another number."""
    return _with_spread(stat, 100, 1) if metric(name).share else _with_spread(stat, 1, 3)


def _with_spread(stat: Stat | None, scale: float, digits: int) -> str:
    if stat is None:
        return _NONE
    return " ± ".join(f"{scale * value:.{digits}f}" for value in stat if value is not None)


def significant(value: float | None, digits: int = 3) -> str:
    """So many significant digits, trailing zeros too, and never in powers of ten."""
    if not value:
        return _NONE if value is None else "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{decimals}f}"


def _shown_metrics(rows: list[Row]) -> list[str]:
    of_heads = dict.fromkeys(name for row in rows for name in row.metrics if name not in METRICS)
    return [name for name in [*METRICS, *of_heads] if any(name in row.metrics for row in rows)]


def _best(rows: list[Row]) -> dict[str, float]:
    """The best mean of every metric."""
    best = {}
    for name in _shown_metrics(rows):
        means = [row.metrics[name].mean for row in rows if name in row.metrics]
        best[name] = max(means) if metric(name).higher_is_better else min(means)
    return best


def _page(folder: Path, runs: list[Run], rows: list[Row]) -> Mapping[str, object]:
    """What the template shows."""
    groups = {row.name: by_name(runs)[row.name] for row in rows}  # best first, as the table
    finished = [run for group in groups.values() for run in group]
    first, classes = finished[0].result, every_class(finished)
    heads = {head: _of_head(classes, head) for head in first.heads or {}}
    folds = len({run.result.fold for run in finished if run.result.fold is not None})
    costed = [row for row in rows if row.gmacs and row.main in row.metrics]
    titles, lines = table_cells(rows)
    return {
        "folder": shlex.quote(folder.name), "title": _title(finished), "data": first.data,
        "task": first.task, "classes": classes, "heads": heads, "splits": first.splits,
        "rows": rows, "split": _SPLITS[rows[0].split], "main": METRICS[rows[0].main],
        "seeds": sorted({run.result.seed for run in finished}),
        "unit": "seed", "folds": folds, "over": "seeds and folds" if folds else "seeds",
        "same_split": all(run.result.splits == first.splits for run in finished),
        "metrics": _shown_metrics(rows), "titles": titles, "lines": lines, "stat": _stat, "best": _best(rows),
        "findings": findings(runs), "warnings": table_warnings(rows),
        "loads": [row.load for row in rows if row.load is not None],
        "trade_off": chart.svg() if len(costed) > 1 and (chart := _trade_off(rows)) else "", "front": _front(costed),
        "learning": _learning(groups, rows[0].main),
        "confusions": _confusions_of(groups, heads) if heads else confusions(groups, classes),
        "per_class": _per_class(groups, classes), "devices": devices(run.folder for run in runs),
        "pictures": _pictures(groups), "skipped": _skipped(runs), "lost": losses(runs),
        "distances": _distances(runs),
        "exchanged": {what: _exchanged(groups, what) for what in ("exchanged", "channels")},
        "taught": [f"{run.name}, seed {run.result.seed}: {said}" for run in finished if (said := taught(run.result))],
        "num_skipped": {name: [run.result.skipped for run in group] for name, group in groups.items()},
        "unfinished": [(run.folder.relative_to(folder), run.name, len(run.epochs)) for run in runs if not run.outcome],
        "environment": environment(finished), "commands": commands(finished),
        "configs": [(name, asdict(config)) for name, group in groups.items() if (config := group[0].config)],
        "chosen": {name: [run.result.best_epoch for run in group] for name, group in groups.items()},
        "chosen_by": sorted({said for run in finished if (said := epochs_chosen_by(run))}),
        "adapted": all(run.result.finetune for run in finished),
        "choices": [table_of_choice(run.choice) for run in finished if run.choice],
        "seconds": {name: mean(run.result.seconds for run in group) for name, group in groups.items()},
    }  # fmt: skip


def _title(finished: list[Run]) -> str:
    """What is predicted from what: `digit from depth and sound`, `cat or dog from video`, `40 classes`."""
    first = finished[0]
    label, classes = first.config.data.label if first.config else "label", first.result.classes
    names = list(label.split(JOIN)) if label != "label" else classes
    what = _listed(names, "and" if label != "label" else "or") if 0 < len(names) <= 3 else f"{len(classes)} classes"
    if first.result.task == "regression" and label == "label":
        what = "a number"
    inputs = sorted({name for run in finished for name in run.result.cost.lengths})
    return f"{what} from {_listed(inputs, 'and')}" if inputs else what


def _listed(names: list[str], last: str) -> str:
    return f" {last} ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])


def _front(rows: list[Row]) -> list[str]:
    """Names of the methods that none beats in both GMACs and the main metric."""
    sign = 1 if rows and METRICS[rows[0].main].higher_is_better else -1
    points = [(row.gmacs or 0.0, sign * row.metrics[row.main].mean) for row in rows]
    return [rows[i].name for i in charts.pareto_front(points)]


def _trade_off(rows: list[Row]) -> charts.TradeOff | None:
    """The main metric against GMACs; None if no row has both."""
    main = METRICS[rows[0].main]
    scale = 100 if main.share else 1
    points = []
    for i, row in enumerate(rows):
        if not row.gmacs or row.main not in row.metrics:
            continue
        stat = row.metrics[row.main]
        error = None if stat.std is None else scale * stat.std
        points.append(charts.Point(row.name, row.gmacs, scale * stat.mean, error, i))
    ylabel = f"{main.title} on the {_SPLITS[rows[0].split]} split{', %' if main.share else ''}"
    return charts.TradeOff(points, ylabel, higher_is_better=main.higher_is_better) if points else None


def _learning(groups: dict[str, list[Run]], main: str) -> str:
    """Curves of the loss and of the main metric on the validation split, where every seed logged them."""
    panels = {}
    for key, title in (("valid_loss", "Validation loss"), (f"valid_{main}", f"Validation {METRICS[main].title}")):
        scale = 100 if METRICS[main].share and key != "valid_loss" else 1
        curves = {}
        for name, group in groups.items():
            seeds: dict[int, list[list[float]]] = {}
            for run in group:
                values = [scale * epoch.scores[key] for epoch in run.epochs if key in epoch.scores]
                seeds.setdefault(run.result.seed, []).append(values)
            if all(all(folds) for folds in seeds.values()):
                # The mean over folds, of the epochs that all of them reached.
                curves[name] = [list(map(mean, zip(*folds, strict=False))) for folds in seeds.values()]
        if curves:
            panels[title + (", %" if scale == 100 else "")] = curves
    return charts.learning(panels, list(groups)) if panels else ""


def confusions(groups: dict[str, list[Run]], classes: list[str]) -> list[tuple[str, str, str]]:
    """Name, number of runs in words and figure of every method with a confusion matrix."""
    figures = []
    for name, group in groups.items():
        group = [run for run in group if run.result.confusion]
        if group:
            counts = np.sum([_placed(run, run.result.confusion, classes, 0) for run in group], axis=0)
            figures.append((name, _in_words(group), charts.confusion(_row_shares(counts), classes)))
    return figures


def _confusions_of(groups: dict[str, list[Run]], heads: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """As `confusions`, a figure for every head, with the head in its name."""
    figures = []
    for head, classes in heads.items():
        alone = {name: [_alone(run, head) for run in group] for name, group in groups.items()}
        figures += [(f"{name}: {head}", runs, figure) for name, runs, figure in confusions(alone, classes)]
    return figures


def _alone(run: Run, head: str) -> Run:
    """The run as if it had one head only."""
    counts, classes = (run.result.confusions or {}).get(head), _of_head(run.result.classes, head)
    return run._replace(outcome=replace(run.result, confusion=counts, classes=classes, per_class_ap=None))


def _of_head(classes: list[str], head: str) -> list[str]:
    """[verb:take, noun:plate], verb -> [take]."""
    return [name.removeprefix(f"{head}:") for name in classes if name.startswith(f"{head}:")]


def _in_words(group: list[Run]) -> str:
    """`3 seeds`, or `9 runs (3 seeds x 3 folds)`."""
    seeds, folds = ({getattr(run.result, key) for run in group} for key in ("seed", "fold"))
    text = f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"
    if folds == {None}:
        return text
    join = f" {_TIMES} " if len(group) == len(seeds) * len(folds) else ", "  # a cell may be missing
    text = f"{text}{join}{len(folds)} fold{'s' * (len(folds) != 1)}"
    return f"{len(group)} run{'s' * (len(group) != 1)} ({text})"


def _placed(run: Run, of_run: Sequence[object] | None, classes: list[str], absent: float) -> np.ndarray:
    """Values per class of one run (a vector or a square matrix), where they belong among all classes."""
    values = np.array(of_run, dtype=float)
    placed = np.full((len(classes),) * values.ndim, absent, dtype=float)
    places = [classes.index(name) for name in run.result.classes]
    placed[np.ix_(*[places] * values.ndim)] = values
    return placed


def _row_shares(counts: np.ndarray) -> np.ndarray:
    """Counts over the sum of their row; a class without test clips has zeros."""
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _per_class(groups: dict[str, list[Run]], classes: list[str]) -> Mapping[str, object]:
    """Per class: one share per method, mean over seeds; average precision, or F1 where only counts are known."""
    finished = [run for group in groups.values() for run in group]
    if all(run.result.task == "segment" and run.result.confusion for run in finished):
        title, values = "IoU", lambda run: _iou(_placed(run, run.result.confusion, classes, np.nan))
    elif all(run.result.task in POINT_TASKS for run in finished):
        title, values = "average precision at overlap .25", lambda run: _placed(run, _of_boxes(run), classes, np.nan)
    elif all(run.result.per_class_ap for run in finished):
        title, values = "average precision", lambda run: _placed(run, run.result.per_class_ap, classes, np.nan)
    elif all(run.result.confusion for run in finished):
        title, values = "F1", lambda run: _f1(_placed(run, run.result.confusion, classes, np.nan))
    else:
        return {}
    means = {name: _mean_where_known(np.array([values(run) for run in group])) for name, group in groups.items()}
    table = [(label, [float(means[name][c]) for name in means]) for c, label in enumerate(classes)]
    return {"title": title, "names": list(means), "table": table}


def _of_boxes(run: Run) -> list[float]:
    """Average precision by class; NaN of one that no test scene has."""
    return [run.result.test.get(f"ap25_{name}", math.nan) for name in run.result.classes]


def _exchanged(groups: dict[str, list[Run]], what: str) -> Mapping[str, object]:
    """The share of tokens, or of channels, that every layer replaced, mean over runs, of methods with such layers."""
    each = {name: [getattr(run.result, what) or {} for run in group] for name, group in groups.items()}
    layers = sorted({layer for shares in each.values() for share in shares for layer in share}, key=_counted)
    means = {name: [mean(s.get(layer) for s in shares) for layer in layers] for name, shares in each.items()}
    return {"layers": layers, "table": [(n, s) for n, s in means.items() if any(x is not None for x in s)]}


def _counted(layer: str) -> list[str | int]:
    """Puts layer 10 after 9, and depth@1.10 after depth@1.9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", layer)]


def _pictures(groups: dict[str, list[Run]]) -> "Section | None":
    """What the first run of each method says of a few scenes, if it is of pictures or clouds."""
    task = next(iter(groups.values()))[0].result.task  # a page is of one
    if task in PIXEL_TASKS:
        from sparsefuse.report.pixels.section import section  # it loads torch
    elif task in POINT_TASKS:
        from sparsefuse.report.points.section import section
    else:
        return None
    return section({name: RunFolder(group[0].folder) for name, group in groups.items()})


def _distances(runs: list[Run]) -> str:
    """What kernel and Fréchet distance of translations are of; empty for other tasks."""
    made = [run.result for run in runs if run.outcome and run.result.task == "translate"]
    if not made:
        return ""
    from sparsefuse.report.pixels.distances import note  # it loads torch

    return note(made)


def _mean_where_known(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN where all are."""
    defined = ~np.isnan(values)
    return np.where(defined.any(0), np.where(defined, values, 0).sum(0) / np.maximum(defined.sum(0), 1), np.nan)


def _f1(counts: np.ndarray) -> np.ndarray:
    """F1 per class; NaN for a class whose counts are."""
    hits, either = counts.diagonal(), np.nansum(counts, 0) + np.nansum(counts, 1)
    return 2 * hits / np.maximum(either, 1)


def _iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union per class; NaN for a class that is neither true nor predicted."""
    hits = counts.diagonal()
    union = np.nansum(counts, 0) + np.nansum(counts, 1) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def devices(folders: Iterable[Path]) -> list[dict[str, str]]:
    """What `cost --device-profile` measured of exported runs: the rows of their export/device.csv, numbers rounded."""
    rows = []
    for path in (folder / "export" / "device.csv" for folder in folders):
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows += [row | {key: _rounded(row[key]) for key in _MEASURED} for row in csv.DictReader(file)]
    return rows


_MEASURED = ("size_kb", "gmacs", "latency_ms", "spread_ms", "memory_mb")


def _rounded(cell: str) -> str:
    return significant(float(cell)) if cell else _NONE


def _skipped(runs: list[Run]) -> list[tuple[str, str, str]]:
    """What any run left out, each once."""
    return sorted({(skip.id, skip.modality, skip.reason) for run in runs for skip in run.skipped})


def environment(runs: list[Run]) -> list[tuple[str, str]]:
    """Every fact of env.json with the values the runs have; command and seed differ by design and stand elsewhere."""
    envs = [asdict(run.env) for run in runs if run.env]
    keys = [key for key in envs[0] if key not in ("command", "seed")] if envs else []
    return [(key, ", ".join(dict.fromkeys(str(env[key]) for env in envs))) for key in keys]


def commands(runs: list[Run]) -> list[str]:
    """The commands that made the runs, each once."""
    return list(dict.fromkeys(run.env.command for run in runs if run.env and run.env.command))
