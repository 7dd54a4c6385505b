"""Columns of a table of sensor readings, one token per reading, or resampled to a steady rate."""

import codecs
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sparsefuse.features._cells import Layout
from sparsefuse.features._readings import Readings
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import File, FileRequest

SOURCE = "series"
_MANY = 10  # steps that are no coincidence
_BURSTS = 0.25  # share of rows
_MOST = 10_000_000  # tokens; a time column in milliseconds that is read as seconds gives more


class Clock(NamedTuple):
    """The times of a file's rows."""

    times: np.ndarray
    """(rows,) seconds since the first row, rising"""
    late: int = 0
    """rows that were put in order"""
    twice: int = 0
    """rows that were dropped, as their time was there already"""


@dataclass(frozen=True)
class Extractor:
    """Columns of a CSV file as tokens, (N, F) float32, in the file's own units."""

    columns: list[int | str] | None = None
    """by name, or by number from 0; None = all but `time`, if none looks like a clock or an index"""
    time: int | str | None = None
    """the column of times: numbers, or dates as 2026-01-31 12:00:00; None = there is none"""
    unit: float = 1.0
    """seconds per unit of the times: 0.001 for milliseconds"""
    time_format: str | None = None
    """how dates are written, such as %d/%m/%Y %H:%M:%S.%f; None = numbers, or as ISO 8601 says"""
    unsorted: Literal["sort", "error"] = "sort"
    """what to do if the clock steps back by at most `max_gap`: sort = put the rows in order, of equal times one"""
    file_rate: float | None = None
    """rows per second of a file without times; None = unknown"""
    rate: float | None = None
    """tokens per second, by linear interpolation and without a filter; None = one token per row"""
    max_gap: float = 1.0
    """most seconds between two values to interpolate over; an empty or NaN cell has no value"""
    long_gap: Literal["error", "hold"] = "error"
    """what to do with a longer gap: error = the file is unusable, hold = repeat the value before it"""
    skip: int = 0
    """lines to leave out at the head of the file"""
    comment: str = "#"
    """lines that begin so are left out; empty = none"""
    decimal: Literal[".", ","] | None = None
    """what precedes the fraction; None = a point, if the commas of the file cannot be meant so"""
    thousands: str | None = None
    """what is between groups of three digits; None = nothing"""
    encoding: str | None = None
    """of the text, such as cp1252; None = UTF-8, or UTF-16 with its mark"""
    missing: list[float] | None = None
    """numbers that stand for no value, such as -9999"""

    def __post_init__(self) -> None:
        if self.columns == []:
            raise ValueError("columns is an empty list, expected names or numbers of columns, or none for all")
        for name in ("unit", "file_rate", "rate", "max_gap"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, expected a number above 0")
        if self.skip < 0:
            raise ValueError(f"skip is {self.skip}, expected a number of lines")
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError as error:
            raise ValueError(f"encoding is {self.encoding!r}, expected one that Python knows, as cp1252") from error

    def request(self) -> FileRequest:
        """The file; of a part of it the tokens from `start` to before `end`, in seconds since the first row."""
        return FileRequest(parts=True)

    def features(self, file: File) -> np.ndarray:
        """(N, F) float32. Beyond the first and the last value the nearest one stays, if that is not too long."""
        path, first, last = file.path, file.start, math.inf if file.end is None else file.end
        names, values, clock = self._table(path)
        if clock is None:
            _check_no_time_needed(path, values, {"rate": self.rate, "start": first or None, "end": file.end})
            return values.astype(np.float32)
        times = clock.times
        if self.rate is None:
            kept = (times > first - 1e-9) & (times < last - 1e-9)  # as in _grid
            at, own = times[kept], values[kept]
        else:
            at = _grid(path, times[-1], self.rate, first, last)
            own = np.full((len(at), len(names)), math.nan)
        if not len(at):
            raise Unusable(f"{path}: has nothing from {first:g} s to {last:g} s; it lasts {times[-1]:g} s")
        columns = []
        for column, name in zip(values.T, names, strict=True):
            finite = np.isfinite(column)
            where = f"{path}: column {name!r}"
            columns.append(
                _interpolated(where, times[finite], column[finite], at, self.max_gap, self.long_gap == "hold")
            )
        return np.where(np.isnan(own), np.stack(columns, axis=1), own).astype(np.float32)

    def times(self, path: Path, /) -> np.ndarray:
        """Seconds (N,) since the first row of the tokens of a whole file."""
        _, _, clock = self._table(path)
        if clock is None:
            raise Unusable(f"{path}: its rows have no times; give `time` (a column) or `file_rate`")
        return clock.times if self.rate is None else _grid(path, clock.times[-1], self.rate, 0.0, math.inf)

    def notes(self, path: Path, /) -> list[str]:
        """Whether the clock steps back, or time stamps come in bursts, as those of packets do."""
        _, _, clock = self._table(path)
        if clock is None:
            return []
        found = []
        if clock.late:
            dropped = f"; dropped, as their time is there already: {clock.twice}" * bool(clock.twice)
            found.append(f"the clock steps back; rows put in order: {clock.late}{dropped}")
        steps = np.diff(clock.times).clip(max=self.max_gap)
        tight = steps < steps.mean() / 10
        if len(steps) >= _MANY and tight.mean() > _BURSTS:
            found.append(f"time stamps come in bursts: {tight.mean():.0%} of rows are hardly later than the row before")
        return found

    def _table(self, path: Path) -> tuple[list[str], np.ndarray, Clock | None]:
        """Names and values (rows, F) of the columns, and the rows' times if they are known; the last one is kept."""
        state = path.stat() if path.is_file() else None
        key = state and (path, state.st_mtime_ns, state.st_size)
        table = self._last.get(key)
        if table is None:
            table = self._read(path)
            self._last.clear()
            self._last[key] = table
        return table

    @functools.cached_property
    def _last(self) -> dict[object, tuple[list[str], np.ndarray, Clock | None]]:
        return {}

    def _read(self, path: Path) -> tuple[list[str], np.ndarray, Clock | None]:
        layout = Layout(self.skip, self.comment, self.decimal, self.thousands, self.encoding)
        table = Readings(path, layout, self.missing or (), self.time_format)
        place = None if self.time is None else table.place(self.time)
        places = self._places(table, place)
        values = np.stack([table.numbers(place) for place in places], axis=1)
        names = [table.names[place] for place in places]
        if self.columns is None:
            timed = place is not None or self.file_rate is not None or len(places) == 1
            table.check_readings(places, timed=timed)
        if place is None:
            return names, values, Clock(np.arange(len(table)) / self.file_rate) if self.file_rate else None
        times = table.times(place, self.unit)
        late = np.maximum.accumulate(times) - times
        row = int(np.argmax(late))
        if late[row] > self.max_gap or (late[row] and self.unsorted == "error"):
            limit = "" if self.unsorted == "error" else f", more than max_gap, {self.max_gap:g} s"
            raise Unusable(f"{table.at(row, place)}: the time goes back by {late[row]:g} s{limit}")
        if not late[row]:
            return names, values, Clock(times)
        times, order = np.unique(times, return_index=True)  # of equal times the first
        return names, values[order], Clock(times - times[0], int((late > 0).sum()), len(late) - len(order))

    def _places(self, table: Readings, clock: int | None) -> list[int]:
        if self.columns is not None:
            return [table.place(column) for column in self.columns]
        places = [place for place in range(len(table.names)) if place != clock]
        if not places:
            raise Unusable(f"{table.path}: has no column but {self.time!r}, expected readings beside the times")
        return places


def _check_no_time_needed(path: Path, values: np.ndarray, options: dict[str, float | None]) -> None:
    reasons = [name for name, value in options.items() if value is not None]
    if not np.isfinite(values).all():
        reasons.append("filling its empty cells")
    if reasons:
        raise Unusable(f"{path}: {reasons[0]} needs the time of each row; give `time` (a column) or `file_rate`")


def _grid(path: Path, length: float, rate: float, first: float, last: float) -> np.ndarray:
    """The times first, first + 1 / rate, ... until the file's length, and before `last`."""
    # The small numbers keep the last point where 0.3 * 10 is 2.9999999999999996.
    number = math.floor((length - first) * rate + 1e-6) + 1
    if number > _MOST:
        raise Unusable(f"{path}: lasts {length:g} s, which gives {number} tokens; is `unit` right?")
    grid = first + np.arange(max(0, number)) / rate
    return grid[grid < last - 1e-9]


def _interpolated(
    where: str, times: np.ndarray, values: np.ndarray, at: np.ndarray, max_gap: float, hold: bool
) -> np.ndarray:
    """One column's values at the times `at`, from its finite ones. Raises Unusable for a gap that is too long, unless
    `hold`."""
    if not len(values):
        raise Unusable(f"{where} has no value")
    times, unlike = np.unique(times, return_index=True)  # of rows at the same time the first counts
    values = values[unlike]
    before = np.searchsorted(times, at + 1e-9, side="right") - 1  # -1: none
    after = np.searchsorted(times, at - 1e-9)  # len(times): none
    # Beyond the first and the last value the gap reaches to the token itself.
    left = np.where(before < 0, at, times[before.clip(0)])
    right = np.where(after == len(times), at, times[after.clip(max=len(times) - 1)])
    long = right - left > max_gap + 1e-9
    if long.any() and not hold:
        worst = int(np.argmax(long))
        raise Unusable(
            f"{where} has no value from {left[worst]:g} s to {right[worst]:g} s, longer than max_gap, {max_gap:g} s; "
            "raise it, set long_gap: hold, or correct `unit`"
        )
    return np.where(long, values[before.clip(0)], np.interp(at, times, values))
