"""A search's folder in; one HTML page that opens from disk out. Needs no torch."""

import csv
from pathlib import Path
from typing import NamedTuple

from sparsefuse.files.whole import read_json, write_text
from sparsefuse.report import charts
from sparsefuse.report.page import commands, devices, environment, render, table_cells, table_warnings
from sparsefuse.runs.summary import UNITS, read_runs, summarise


def write_page(folder: str | Path, out: str | Path | None = None) -> Path:
    """Writes the page (`<folder>/report.html`) about a finished search; returns it.

    Raises ValueError for a search that has not chosen a model yet.
    """
    folder = Path(folder)
    out = Path(out) if out else folder / "report.html"
    if not (folder / "chosen.yaml").is_file():
        raise ValueError(
            f"{folder}: this search has not finished; run its `sparsefuse budget` command again to resume it"
        )
    settings = read_json(folder / "search.json")["budget"]
    limits = {name: limit for name, limit in settings["limits"].items() if limit is not None}
    trials, front, finalists = (_read(folder / f"{name}.csv") for name in ("trials", "front", "finalists"))
    runs = [run for part in _models(folder) for run in read_runs(part) if run.outcome]
    rows = summarise(runs)
    page = render(
        "budget/page.html.j2",
        title=folder.resolve().name,
        settings=settings,
        data=runs[0].result.data,
        limits=[f"{limit:g} {UNITS[name]}" for name, limit in limits.items()],
        figures=[_trade_off(trials, front, UNITS[name], limit) for name, limit in limits.items()],
        refit=(folder / "refit").is_dir(),
        trials=trials,
        front=front,
        finalists=finalists,
        chosen=_Table(*table_cells(rows)),
        warnings=table_warnings(rows),
        devices=devices([*(folder / "trials" / line[0] for line in front.lines), folder / "chosen"]),
        yaml=(folder / "chosen.yaml").read_text(encoding="utf-8"),
        environment=environment(runs),
        commands=commands(runs),
    )
    write_text(out, page)
    return out


def _models(folder: Path) -> list[Path]:
    return [folder / name for name in ("chosen", "refit") if (folder / name).is_dir()]


class _Table(NamedTuple):
    head: list[str]
    lines: list[list[str]]


def _read(path: Path) -> _Table:
    head, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
    return _Table(head, lines)


def _trade_off(trials: _Table, front: _Table, unit: str, limit: float) -> str:
    """All trials that finished, against one cost; those of the front have their number."""
    cost, score = trials.head.index(unit), next(name for name in trials.head if name.startswith("valid"))
    value = trials.head.index(score)
    named = {line[0] for line in front.lines}
    methods = list(dict.fromkeys(line[1] for line in trials.lines))
    points = [
        charts.Point(line[0] if line[0] in named else "", float(line[cost]), float(line[value]), None, place)
        for line in trials.lines
        if line[value] and float(line[cost]) > 0
        for place in [methods.index(line[1])]
    ]
    return charts.TradeOff(points, score, f"{unit} per clip, log scale", limit=limit).svg()
