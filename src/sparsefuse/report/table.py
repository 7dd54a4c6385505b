"""A table of results, for the screen, Markdown, CSV, a notebook and pandas."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from sparsefuse.extras import need
from sparsefuse.files.rows import csv_text
from sparsefuse.files.whole import write_text
from sparsefuse.report.charts import TradeOff
from sparsefuse.shown import CELL, REASON, markdown, markdown_table, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from rich.console import RenderableType
    from rich.table import Table as ScreenTable

_SHORT = {"Memory MB": "MB", "Latency ms": "ms", "Parameters": "Params"}


@dataclass(frozen=True, repr=False)
class Table:
    """Results, a line each. `print` shows it as text, a notebook as HTML."""

    title: str
    head: list[str]
    """names of the columns, with units"""
    lines: list[list[str]]
    """cells as text; the first is the line's name"""
    note: str = ""
    """what the numbers are"""
    findings: list[str] = field(default_factory=list)
    """what the runs say, a sentence each (see `report.findings`)"""
    warnings: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """a line for each run that failed: its folder and the reason"""
    main: int | None = None
    """the column by which the lines are ordered, best first; None if they are not"""
    text_columns: int = 1
    """how many of the first columns hold no numbers"""
    fitting: list[int] | None = None
    """the columns that fit a screen; None = all"""
    values: list[list[object]] = field(default_factory=list)
    """the same unrounded, the names of its columns first; if empty, as `head` and `lines`"""
    chart: TradeOff | None = None
    """what `plot` draws"""

    def best(self) -> str:
        """The name of the best line: by the task's main metric (top-1, mAP or MAE) on the test split, or on the
        validation split where no run was tested. Raises ValueError where lines are not ordered or there are none."""
        if self.main is None or not self.lines:
            why = "its lines are not ordered by a score" if self.lines else "it has no lines"
            raise ValueError(f"no line of this table is the best: {why}{'; see .failed' * bool(self.failed)}")
        return self.lines[0][0]

    def to_frame(self) -> "DataFrame":
        """As a pandas DataFrame: what the CSV file holds, unrounded. Raises ImportError without pandas."""
        pandas = need("pandas", "frames", "to_frame")
        name = (self.values or [self.head])[0][0]
        return pandas.read_csv(io.StringIO(self.csv()), dtype={name: str}, keep_default_na=False, na_values="")

    def plot(self) -> "Figure":
        """Score against cost on a logarithmic axis, as a matplotlib figure, which `savefig` writes to a file.

        Raises ValueError if no line has both.
        """
        if self.chart is None:
            raise ValueError("no line of this table has both a score and a cost to draw")
        return self.chart.figure()

    def csv(self) -> str:
        """As CSV with unrounded numbers; what was not measured is an empty cell."""
        return csv_text(self.values or [self.head, *self.lines])

    def markdown(self) -> str:
        """As a Markdown table, with its note, findings and warnings below."""
        rule = [":--"] * self.text_columns + ["--:"] * (len(self.head) - self.text_columns)
        table = markdown_table([self.head, *self.lines], rule) + (f"\n{self.note}\n" if self.note else "")
        found = "".join(f"\n{markdown(finding, REASON)}.\n" for finding in self.findings)
        return table + found + "".join(f"\nWarning: {markdown(warning, CELL)}.\n" for warning in self.warnings)

    def write(self, place: Path) -> None:
        """Writes <place>.csv and <place>.md."""
        write_text(place.with_name(f"{place.name}.csv"), self.csv())
        write_text(place.with_name(f"{place.name}.md"), self.markdown())

    def __repr__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        if self.lines:
            Console(file=text, width=120, force_jupyter=False, force_terminal=False).print(self.rich())
        lines = [*(line.rstrip() for line in text.getvalue().splitlines()), *self.findings, *self._below()]
        return "\n".join(lines).strip("\n")

    def __rich_console__(self, *_: object) -> "Iterator[RenderableType]":
        from rich.text import Text

        if self.lines:
            yield self.rich()
        yield from map(Text, self.findings)
        yield from (Text(line, style="yellow") for line in self._below())

    def rich(self) -> "ScreenTable":
        """For a terminal of 80 columns: what fits, the best in bold."""
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        columns = self.fitting if self.fitting is not None else range(len(self.head))
        table = Table(title=escape(self.title) or None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1),
                      collapse_padding=True, pad_edge=False)  # fmt: skip
        for i in columns:
            justify = "left" if i < self.text_columns else "right"
            table.add_column(escape(_SHORT.get(self.head[i], self.head[i])), justify=justify, no_wrap=True)
        for line in self.lines:
            cells = [f"[bold]{escape(cell)}[/bold]" if self._is_best(line, i) else escape(cell)
                     for i, cell in enumerate(line)]  # fmt: skip
            table.add_row(*(cells[i] for i in columns))
        return table

    def _repr_html_(self) -> str:
        lines = [[(escape(shown(cell, CELL)), self._is_best(line, i)) for i, cell in enumerate(line)]
                 for line in self.lines]  # fmt: skip
        head = "".join(f"<th>{escape(shown(name))}</th>" for name in self.head)
        body = "".join(
            f"<tr>{''.join(f'<td><b>{cell}</b></td>' if best else f'<td>{cell}</td>' for cell, best in line)}</tr>"
            for line in lines
        )
        title = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        below = "".join(f"<p>{escape(text)}</p>" for text in [self.note, *self.findings, *self._below()] if text)
        return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"

    def _is_best(self, line: list[str], column: int) -> bool:
        """Whether a cell shows the best score; several may."""
        return column == self.main and line[column].split(" ± ")[0] == self.lines[0][column].split(" ± ")[0]

    def _below(self) -> list[str]:
        failed = [f"failed: {shown(line, REASON)}" for line in self.failed]
        return [f"warning: {warning}" for warning in self.warnings] + failed
