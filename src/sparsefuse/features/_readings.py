"""Reads a table of sensor readings: columns by name or number, cells as numbers or times."""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from sparsefuse.errors import unknown
from sparsefuse.features._cells import TIME, Layout, is_number, number, read_cells
from sparsefuse.files.rows import BLANK
from sparsefuse.files.skipped import Unusable
from sparsefuse.shown import shown

_MANY = 10  # rows that are no coincidence
_MOSTLY = 0.9  # share of steps
_CLOCK = re.compile(r"(?i)time|stamp|elapsed|epoch|clock|date|seconds|millis|\bt\b")
_SWAPPED = str.maketrans(",.", ".,")
_LONG = 20  # digits that do not fit 64 bits
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGAN = 1e8  # seconds since 1970; a reading is less
_LATEST = 1e11  # seconds since 1970; a time beyond it is in smaller units


class Readings:
    """The table of a file."""

    def __init__(self, path: Path, layout: Layout, missing: Sequence[float], time_format: str | None) -> None:
        """Reads the file. Cells that equal a number of `missing` have no value. Raises Unusable."""
        self.path, self._layout, self._missing, self._format = path, layout, missing, time_format
        self.names, self._rows = read_cells(path, layout)
        self._check_begin()

    def __len__(self) -> int:
        return len(self._rows)

    def place(self, column: int | str) -> int:
        """Index of a column: the one of that name, else of that number, from 0."""
        if self.names.count(str(column)) > 1:
            raise Unusable(f"{self.path}: several columns are called {column!r}; leave the header out with `skip`")
        if str(column) in self.names:
            return self.names.index(str(column))
        if isinstance(column, str):
            hint = "leave out lines above the names with `skip`"
            raise Unusable(f"{self.path}: {unknown('column', column, self.names)}; {hint}")
        if not 0 <= column < len(self.names):
            raise Unusable(f"{self.path}: there is no column {column}, it has {len(self.names)}, counted from 0")
        return column

    def numbers(self, place: int) -> np.ndarray:
        """(rows,) float64 of a column, NaN where it has no value."""
        column = [cells[place] for _, cells in self._rows]
        plain = self._layout.decimal != "," and not self._layout.thousands and "_" not in "".join(column)
        values = np.empty(0)
        if plain:  # most files need no look at single cells
            with suppress(ValueError):
                values = np.array(list(map(float, column)))
        if not len(values):
            values = np.array([self._number(row, place) for row in range(len(self))], dtype=np.float64)
        values[np.isin(values, self._missing) | np.isinf(values)] = math.nan
        return values

    def dates(self, place: int) -> bool:
        """Whether a column of times is of dates, not of numbers."""
        first = self._rows[0][1][place]
        return self._format is not None or not any(map(is_number, (first, self._plain(first))))

    def times(self, place: int, unit: float) -> np.ndarray:
        """(rows,) seconds since the first row, of a column of numbers (`unit` seconds each) or of dates."""
        dates = self.dates(place)
        moments: list[Any] = [self._date(row, place) if dates else self._number(row, place) for row in range(len(self))]
        none = next((row for row, moment in enumerate(moments) if not math.isfinite(moment)), None)
        if none is not None:
            raise Unusable(f"{self._at(none, place)}: has no time")
        if not dates and abs(moments[0]) * unit > _LATEST:
            likely = next((unit for unit in (1e-3, 1e-6, 1e-9) if 1e9 <= moments[0] * unit < 4e9), 1e-9)
            raise Unusable(f"{self.at(0, place)} is beyond the year 5000 in seconds; set `unit`, such as {likely:g}")
        if len(moments) > 1 and min(moments) == max(moments):
            raise Unusable(f"{self.at(0, place)} is the time of every row; is it the column of times?")
        if not dates and abs(moments[0]) > _BEGAN and not all(isinstance(moment, int) for moment in moments):
            moments = [Decimal(self._plain(cells[place])) for _, cells in self._rows]  # .02 s since 1970 is no float
        # In this order long numbers lose no digits: nanoseconds since 1970 do not fit a float.
        times = np.array([moment - moments[0] for moment in moments], dtype=np.float64)
        times = times / 1e6 if dates else times * unit
        if self._format is not None and not re.search("%[dDjxcs]", self._format):
            times += 86_400 * np.cumsum(np.diff(times, prepend=0.0) < -43_200)  # a clock without a date, past midnight
        return times

    def at(self, row: int, place: int) -> str:
        """Where a cell is, and its text, for a message."""
        return f"{self._at(row, place)}: {shown(self._rows[row][1][place])!r}"

    def check_readings(self, places: Sequence[int], *, timed: bool) -> None:
        """Raises Unusable for columns that are no readings, a clock or an index, if none was chosen by name.

        `timed`: the times are known, so that the first column need not be one."""
        for place in places:
            if reason := self.no_reading(place, timed):
                hint = "name the columns of readings in `columns`"
                raise Unusable(f"{self.path}: column {self.names[place]!r} {reason}{hint}")

    def no_reading(self, place: int, timed: bool) -> str:
        """Why a column is not of readings, empty if it may be."""
        if not self.names[place]:
            return "has no name, as an index has none; "
        clock = bool(_CLOCK.search(self.names[place]))
        if len(self) < _MANY or not (clock or place == 0):
            return ""
        steps = np.diff(self.numbers(place))
        whole = all(cells[place].isdecimal() for _, cells in self._rows)
        if place == 0 and whole and 1 in steps and np.isin(steps, (1, steps.min())).all():  # it may begin again
            return "counts the rows; "
        rising = steps > 0
        if (rising.all() and not timed) or (clock and rising.any() and (steps >= 0).mean() > _MOSTLY):
            return "rises as a clock does; name it in `time`, or "
        return ""

    def _check_begin(self) -> None:
        """Raises Unusable where the first row is the time the file began."""
        if len(self) < 3 or not all(is_number(cell) for _, cells in self._rows[:2] for cell in cells):
            return
        begin, second = (self._cells_of(row) for row in (0, 1))
        if len(begin) == 1 and min(begin) > _BEGAN and max(second) < _BEGAN / 10:
            skip, rate = f"`skip: {self._rows[0][0]}`", ""
            if len(second) == 1 and min(second) > 0:
                skip = f"`skip: {self._rows[1][0]}`"
                rate = f", the second like rows per second; set `file_rate: {min(second):g}` and"
            raise Unusable(f"{self.path}: the first line looks like the time it began{rate or '; set'} {skip}")

    def _cells_of(self, row: int) -> set[float]:
        return {self._number(row, place) for place in range(len(self.names))}

    def _plain(self, cell: str) -> str:
        """A cell with a decimal point, and nothing between thousands."""
        comma, thousands = self._layout.decimal == ",", self._layout.thousands
        if thousands and re.fullmatch(rf"[-+]?\d{{1,3}}({re.escape(thousands)}\d{{3}})+([.,]\d*)?", cell):
            cell = cell.replace(thousands, "")
        return cell.translate(_SWAPPED) if comma else cell  # 1.234 becomes 1,234, which is no number

    def _number(self, row: int, place: int) -> float:
        """An int where it is whole, which keeps all digits."""
        cell = self._rows[row][1][place]
        if cell.lower() in BLANK:
            return math.nan
        try:
            return int(cell) if cell.isdecimal() and len(cell) < _LONG else number(self._plain(cell))
        except ValueError as error:
            raise Unusable(f"{self.at(row, place)} is not a number; {self._hint(row, place)}") from error

    def _hint(self, row: int, place: int) -> str:
        cell = self._rows[row][1][place]
        if self._layout.decimal is None and re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", cell):
            return "set `decimal: ','`, or `thousands: ','`: its comma may be either"
        if self._layout.decimal != "," and re.search(r"\d,\d+(e[-+]?\d+)?$|^\d+\s+[-+]?\d+$", cell, re.IGNORECASE):
            return "set `decimal: ','` if its comma is a decimal point"
        if between := re.match(r"[-+]?\d{1,3}([.,'\s])\d{3}", cell):
            return f"set `thousands: {between[1]!r}` if that is between thousands"
        if self._layout.decimal == "," and is_number(cell):
            return "it has a point, and `decimal` is a comma"
        if row == 0 and len(self) > 1 and is_number(self._plain(self._rows[1][1][place])):
            return f"leave the line out with `skip: {self._rows[0][0]}`"
        if TIME.match(cell):
            return "if it is a time, name its column in `time`"
        return "name the columns of numbers in `columns`"

    def _date(self, row: int, place: int) -> int:
        """In microseconds; a date without a zone is UTC."""
        try:
            when = self._parsed(self._rows[row][1][place])
        except ValueError as error:
            expected = f"expected {self._format}" if self._format else "set `time_format`, such as %d/%m/%Y %H:%M:%S.%f"
            raise Unusable(f"{self.at(row, place)} is not a time; {expected}") from error
        return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)

    def _parsed(self, cell: str) -> datetime:
        if self._format is None:
            return datetime.fromisoformat(cell)
        try:
            return datetime.strptime(cell, self._format)
        except ValueError:  # many write no fraction where it is zero
            return datetime.strptime(cell, self._format.replace(".%f", ""))

    def _at(self, row: int, place: int) -> str:
        return f"{self.path}, line {self._rows[row][0]}, column {shown(self.names[place])!r}"
