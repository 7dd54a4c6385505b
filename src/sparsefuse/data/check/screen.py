"""Prints a report of `check`: tables and problems."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sparsefuse.data.check.ids import some
from sparsefuse.data.check.report import Report
from sparsefuse.data.check.rules import RULES, Problem
from sparsefuse.data.stems import in_yaml
from sparsefuse.shown import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = 5
"""Problems of one kind that are printed; the JSON file holds all."""
CLASSES, ENDS = 40, 12
"""Classes that are printed; of more than that, the largest and the smallest."""

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def show(report: Report, console: "Console | None" = None) -> None:
    """Prints sizes and balance as tables, then the problems, grouped by rule, each group with its nearest fix."""
    from rich.console import Console

    console = console or Console()
    console.print(f"{report.manifest}: {counted(report.rows, 'sample')}", markup=False, highlight=False, soft_wrap=True)
    for table in _tables(report):
        console.print(table)
    for kind, problems in report.by_kind().items():
        _show_kind(kind, problems, console)
    console.print()
    console.print(summary(report), style="bold", highlight=False)


def summary(report: Report) -> str:
    """`2 errors, 1 warning, 0 notes`, or that there are no problems."""
    if not report.problems:
        return "no problems"
    return ", ".join(counted(count, name) for name, count in report.counts.items())


def _tables(report: Report) -> "list[Table]":
    from rich.markup import escape

    tables = []
    if report.columns:
        table = _table("column", "taken for")
        for name, what in report.columns.items():
            table.add_row(escape(name), escape(what))
        tables.append(table)
    if report.modalities:
        table = _table("modality", "samples", f"{report.measures[0]} min", "median", "max", report.measures[1])
        for name, size in report.modalities.items():
            table.add_row(escape(name), str(size.samples), *(f"{n:g}" for n in size.tokens), str(size.features))
        tables.append(table)
    if report.stems:
        table = _table("modality", "proposed stem (options.all.stem; with pos_embed.scale 0.1)", "tokens", "why")
        for name, proposal in report.stems.items():
            table.add_row(escape(name), escape(in_yaml(proposal.stem)), str(proposal.tokens), escape(proposal.why))
        tables.append(table)
    if report.media:
        table = _table("media", "files", "seconds min", "median", "max", "picture", "sound")
        for name, media in report.media.items():
            picture = _most(media.pictures, media.sizes, media.frame_rates, "{}, {}/s")
            sound = _most(media.sounds, media.sample_rates, {}, "{} Hz")
            table.add_row(escape(name), str(media.files), *(f"{n:.3g}" for n in media.seconds), picture, sound)
        tables.append(table)
    if report.balance:
        tables.append(_balance(report.balance))
    if report.groups:
        table = _table("split", "groups", "names")
        for split, names in report.groups.items():
            table.add_row(split, str(len(names)), escape(some(names, ENDS)))
        tables.append(table)
    return tables


def _balance(balance: Mapping[str, Mapping[str, int]]) -> "Table":
    from rich.markup import escape

    totals: dict[str, int] = {}
    for counts in balance.values():
        for name, count in counts.items():
            totals[name] = totals.get(name, 0) + count
    table = _table("samples per class", *balance)
    names = sorted(totals, key=lambda name: (-totals[name], name))
    cut = len(names) > CLASSES
    for i, name in enumerate(names if cut else sorted(names)):
        if cut and i == ENDS:
            table.add_row(f"... {len(names) - 2 * ENDS} more ...")
        if not cut or not ENDS <= i < len(names) - ENDS:
            table.add_row(escape(name), *(str(counts.get(name, 0)) for counts in balance.values()))
    return table


def _table(*columns: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(escape(name), justify="right" if i else "left")
    return table


def _most(count: int, sizes: Mapping[str, int], rates: Mapping[str, int], text: str) -> str:
    """`98: 640x360 at 25/s`: how many files, and what most of them are."""
    usual = [next(iter(counts)) for counts in (sizes, rates) if counts]
    return f"{count}: {text.format(*usual)}" if len(usual) == text.count("{}") else str(count)


def _show_kind(kind: str, problems: list[Problem], console: "Console") -> None:
    from rich.padding import Padding
    from rich.text import Text

    severity, colour = problems[0].severity, _COLOURS[problems[0].severity]
    console.print()
    console.print(Text.assemble((f"{severity}: {kind}", f"bold {colour}"), f"  {len(problems)} found"))
    for problem in problems[:SHOWN]:
        console.print(Padding(Text(problem.message), (0, 0, 0, 2)))
    if len(problems) > SHOWN:
        console.print(Padding(Text(f"... and {len(problems) - SHOWN} more", style="dim"), (0, 0, 0, 2)))
    console.print(Padding(Text(f"fix: {RULES[kind].fix}", style="green"), (0, 0, 0, 2)))
