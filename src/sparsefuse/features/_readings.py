"""Reads a CSV file of sensor readings: columns by name or number, cells as numbers or times."""

import csv
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sparsefuse.errors import unknown
from sparsefuse.files.rows import BLANK
from sparsefuse.files.skipped import Unusable


class Readings:
    """Rows of cells with the same columns; without a header these are called 0, 1, ..."""

    def __init__(self, path: Path) -> None:
        """Reads the file; cells are separated by , or ; or a tab, else by white space. Raises Unusable."""
        self.path = path
        records = _records(path)
        header = not all(_is_number(cell) for _, cells in records[:1] for cell in cells)
        self.names = records[0][1] if header else [str(place) for place in range(len(records[0][1]))]
        self._rows = records[header:]
        if not self._rows:
            raise Unusable(f"{path}: has only a header, expected rows of numbers")
        for line, cells in self._rows:
            if len(cells) != len(self.names):
                cut = f"{len(cells)} cells, the first row has {len(self.names)}; was it cut short?"
                raise Unusable(f"{path}, line {line}: {cut}")

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, column: int | str) -> int:
        """Index of a column: the one of that name, else of that number, from 0."""
        if str(column) in self.names:
            return self.names.index(str(column))
        if isinstance(column, str):
            raise Unusable(f"{self.path}: {unknown('column', column, self.names)}")
        if not 0 <= column < len(self.names):
            raise Unusable(f"{self.path}: there is no column {column}, it has {len(self.names)}, counted from 0")
        return column

    def numbers(self, place: int) -> np.ndarray:
        """(rows,) float64 of a column, NaN where it has no value."""
        return np.array([self._number(row, place) for row in range(len(self))])

    def times(self, place: int, unit: float) -> np.ndarray:
        """(rows,) seconds since the first row, of a column of numbers (`unit` seconds each) or of dates."""
        dates = not _is_number(self._rows[0][1][place])
        moments = np.array([self._date(row, place) if dates else self._number(row, place) for row in range(len(self))])
        none = np.flatnonzero(np.isnan(moments))
        if len(none):
            raise Unusable(f"{self._at(int(none[0]), place)}: has no time")
        times = (moments - moments[0]) * (1.0 if dates else unit)  # in this order long numbers lose no digits
        back = np.flatnonzero(np.diff(times) < 0)
        if len(back):
            row = int(back[0]) + 1
            raise Unusable(f"{self._at(row, place)}: the time goes back to {self._rows[row][1][place]!r}")
        return times

    def _number(self, row: int, place: int) -> float:
        cell = self._rows[row][1][place]
        if cell.lower() in BLANK:
            return math.nan
        try:
            value = float(cell)
        except ValueError as error:
            hint = "use a decimal point" if "," in cell else "name the columns of numbers in `columns`"
            raise Unusable(f"{self._at(row, place)}: {cell!r} is not a number; {hint}") from error
        return value if math.isfinite(value) else math.nan

    def _date(self, row: int, place: int) -> float:
        """In seconds; a date without a zone is UTC."""
        cell = self._rows[row][1][place]
        try:
            when = datetime.fromisoformat(cell)
        except ValueError as error:
            expected = "expected a number or a date such as 2026-01-31 12:00:00"
            raise Unusable(f"{self._at(row, place)}: {cell!r} is not a time; {expected}") from error
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

    def _at(self, row: int, place: int) -> str:
        return f"{self.path}, line {self._rows[row][0]}, column {self.names[place]!r}"


def _records(path: Path) -> list[tuple[int, list[str]]]:
    """(line, cells) of the rows that are not blank."""
    if not path.is_file():
        raise Unusable(f"{path}: {'is a folder' if path.is_dir() else 'missing'}, expected a CSV file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        first = next((line for line in lines if line.strip()), "")
        end = max(",;\t", key=first.count)
        rows = csv.reader(lines, delimiter=end) if end in first else (line.split() for line in lines)
        records = [(number, [cell.strip() for cell in cells]) for number, cells in enumerate(rows, 1) if any(cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unusable(f"{path}: cannot be read as CSV ({error})") from error
    if not records:
        raise Unusable(f"{path}: is empty, expected rows of numbers")
    return records


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.lower() in BLANK
    return True
