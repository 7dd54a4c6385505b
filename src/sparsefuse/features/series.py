"""Columns of a table of sensor readings: a token per reading, resampled to a steady rate, or per window of them."""

import codecs
import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sparsefuse.features._cells import Layout
from sparsefuse.features._readings import Readings
from sparsefuse.features._resample import decimated, reach
from sparsefuse.features._windows import Content, Windows, changes, norms
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
    dates: bool = False
    """whether the file's own times are dates"""


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
    """readings per second, by linear interpolation; None = one per row, or under `window` the file's own rate"""
    antialias: bool = False
    """before `rate` makes readings fewer, take out what is too fast for it"""
    norm: Literal["add", "only"] | None = None
    """the length of each three columns, however the sensor is turned: beside them, or in their place"""
    difference: bool = False
    """append how fast each column rises, a second"""
    window: float | None = None
    """seconds of readings that make a token; None = a token per reading"""
    hop: float | None = None
    """seconds from window to window; None = half of one"""
    contents: list[Content] | None = None
    """of a window: values (its readings, joined), statistics, spectrum, energy; None = statistics"""
    max_gap: float = 1.0
    """most seconds between two values to interpolate over; an empty or NaN cell has no value"""
    long_gap: Literal["error", "hold", "skip"] = "error"
    """what to do with a longer gap: error = the file is unusable, hold = repeat the value before it, skip = leave out
    the tokens in it"""
    skip: int = 0
    """lines to leave out at the head of the file"""
    comment: str = "#"
    """lines that begin so are left out; empty = none"""
    decimal: Literal[".", ","] | None = None
    """what precedes the fraction; None = a point, if the commas of the file cannot be meant so; a comma, if points are
    between thousands"""
    thousands: str | None = None
    """what is between groups of three digits; None = nothing"""
    encoding: str | None = None
    """of the text, such as cp1252; None = UTF-8, or UTF-16 with its mark"""
    missing: list[float] | None = None
    """numbers that stand for no value, such as -9999"""

    def __post_init__(self) -> None:
        if self.columns == []:
            raise ValueError("columns is an empty list, expected names or numbers of columns, or none for all")
        if self.contents == []:
            raise ValueError("contents is an empty list, expected values, statistics, spectrum or energy, or none")
        for name in ("unit", "file_rate", "rate", "max_gap", "window", "hop"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}, expected a number above 0")
        if self.window is None and (self.hop or self.contents):
            raise ValueError(f"{'hop' if self.hop else 'contents'} is of windows: give `window`, their seconds, too")
        if self.window and self.hop and self.hop > self.window:
            raise ValueError(f"hop is {self.hop:g}, window {self.window:g}: readings between windows would be left out")
        exact = {"values", "spectrum"}.intersection(self.contents or ())
        if exact and self.rate is None:
            raise ValueError(
                f"contents {min(exact)} are as many as a window has readings: give `rate`, readings a second"
            )
        if self.rate and self.window and round(self.window * self.rate) < 2:
            raise ValueError(f"window is {self.window:g} s, rate {self.rate:g}: a window has less than two readings")
        if self.antialias and self.rate is None:
            raise ValueError("antialias is of a `rate` that is given, readings a second")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; expected different ones")
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
            needs = {"rate": self.rate, "window": self.window, "difference": self.difference or None}
            _check_no_time_needed(path, values, {**needs, "start": first or None, "end": file.end})
            return self._with_norms(path, names, values).astype(np.float32)
        return self._tokens(path, first, last, names, values, clock.times)[0].astype(np.float32)

    def times(self, path: Path, /) -> np.ndarray:
        """Seconds (N,) since the first row of the tokens of a whole file; of windows their middles."""
        names, values, clock = self._table(path)
        if clock is None:
            raise Unusable(f"{path}: its rows have no times; give `time` (a column) or `file_rate`")
        return self._tokens(path, 0.0, math.inf, names, values, clock.times)[1]

    def notes(self, path: Path, /) -> list[str]:
        """Whether the clock steps back, or time stamps come in bursts, as those of packets do; and options of times
        that this file does not need."""
        _, _, clock = self._table(path)
        found = self._unused(clock)
        if clock is None:
            return found
        if clock.late:
            dropped = f"; dropped, as their time is there already: {clock.twice}" * bool(clock.twice)
            found.append(f"the clock steps back; rows put in order: {clock.late}{dropped}")
        steps = np.diff(clock.times).clip(max=self.max_gap)
        tight = steps < steps.mean() / 10
        if len(steps) >= _MANY and tight.mean() > _BURSTS:
            found.append(f"time stamps come in bursts: {tight.mean():.0%} of rows are hardly later than the row before")
        return found

    def _unused(self, clock: Clock | None) -> list[str]:
        """Options that say how fast a file goes, and are not used, as something else does."""
        if self.time is None:
            given = {"unit": self.unit != 1, "time_format": self.time_format is not None}
            return [f"{name} is not used, as `time` names no column" for name in given if given[name]]
        found = [f"file_rate is not used, as column {self.time!r} has the times"] if self.file_rate else []
        if clock and clock.dates and self.unit != 1:
            found.append(f"unit is not used, as column {self.time!r} has dates")
        return found

    def _tokens(
        self, path: Path, first: float, last: float, names: list[str], values: np.ndarray, times: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (N, F) from `first` to before `last`, and their times (N,)."""
        at, rate = self._readings_at(path, times, first, last)
        if not len(at):
            raise Unusable(f"{path}: has nothing from {first:g} s to {last:g} s; it lasts {times[-1]:g} s")
        x, gap = self._values(path, names, values, times, at, rate)
        x = self._with_norms(path, names, x)
        if self.difference:
            x = np.concatenate([x, changes(x, at)], axis=1)
            gap[1:] |= gap[:-1]
        if self.window is not None:
            windows = self._cut(rate)
            x, gap = windows.tokens(x, self.contents or ["statistics"]), windows.touched(gap)
            at = at[0] + (windows.hop * np.arange(len(x)) + windows.length / 2) / rate
        if self.long_gap != "skip" or not gap.any():
            return x, at
        if gap.all():
            raise Unusable(f"{path}: every token lies in a gap longer than max_gap, {self.max_gap:g} s")
        return x[~gap], at[~gap]

    def _readings_at(self, path: Path, times: np.ndarray, first: float, last: float) -> tuple[np.ndarray, float]:
        """The times of the readings that tokens are made of, and their rate if it is steady."""
        if self.rate is None and self.window is None:
            return times[(times > first - 1e-9) & (times < last - 1e-9)], math.nan  # as in _grid
        rate = self.rate
        if rate is None:  # the file's own, or a little more, so that a hop is a whole number of readings
            rate = math.ceil(_usual_rate(times, self.max_gap) * self._hop - 1e-6) / self._hop
        return _grid(path, times[-1], rate, first, last), rate

    def _values(
        self, path: Path, names: list[str], values: np.ndarray, times: np.ndarray, at: np.ndarray, rate: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """(T, F) values at the times `at`: those that are there, between them a line; filtered, if they get fewer. And
        which of them (T,) lie in a long gap of a column."""
        factor = math.ceil(_usual_rate(times, self.max_gap) / rate - 1e-6) if self.antialias else 1
        if factor > 1:
            room = reach(factor)
            at = at[0] + np.arange(-room, (len(at) - 1) * factor + room + 1) / (rate * factor)
            at = at.clip(times[0], times[-1])  # beyond the ends the nearest value stays
        columns, gap = [], np.zeros(len(at), dtype=bool)
        for name, column in zip(names, values.T, strict=True):
            finite, where = np.isfinite(column), f"{path}: column {name!r}"
            strict = self.long_gap == "error"
            filled, long = _interpolated(where, times[finite], column[finite], at, self.max_gap, strict)
            columns.append(filled)
            gap |= long
        x = np.stack(columns, axis=1)
        if factor > 1:
            return decimated(x, factor), gap[reach(factor) : -reach(factor) : factor]
        if math.isnan(rate):  # of rows at the same time each keeps its own
            own = values[np.isin(times, at)]
            return np.where(np.isnan(own), x, own), gap
        return x, gap

    def _with_norms(self, path: Path, names: list[str], x: np.ndarray) -> np.ndarray:
        if self.norm is None:
            return x
        if len(names) % 3:
            listed = ", ".join(names)
            raise Unusable(f"{path}: norm is of three columns each, got {len(names)} ({listed}); choose with `columns`")
        return norms(x) if self.norm == "only" else np.concatenate([x, norms(x)], axis=1)

    def _cut(self, rate: float) -> Windows:
        """The windows at a rate."""
        assert self.window is not None
        return Windows(max(2, round(self.window * rate)), max(1, round(self._hop * rate)))

    @property
    def _hop(self) -> float:
        assert self.window is not None
        return self.window / 2 if self.hop is None else self.hop

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
        decimal = "," if self.decimal is None and self.thousands == "." else self.decimal
        layout = Layout(self.skip, self.comment, decimal, self.thousands, self.encoding)
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
        times, dates = table.times(place, self.unit), table.dates(place)
        late = np.maximum.accumulate(times) - times
        row = int(np.argmax(late))
        if late[row] > self.max_gap or (late[row] and self.unsorted == "error"):
            limit = "" if self.unsorted == "error" else f", more than max_gap, {self.max_gap:g} s"
            raise Unusable(f"{table.at(row, place)}: the time goes back by {late[row]:g} s{limit}")
        if not late[row]:
            return names, values, Clock(times, dates=dates)
        times, order = np.unique(times, return_index=True)  # of equal times the first
        return names, values[order], Clock(times - times[0], int((late > 0).sum()), len(late) - len(order), dates)

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


def _usual_rate(times: np.ndarray, max_gap: float) -> float:
    """Readings a second, but for gaps; of packets, whose readings have one time, the mean."""
    steps = np.diff(times).clip(max=max_gap)
    return len(steps) / steps.sum() if steps.sum() else 1.0


def _grid(path: Path, length: float, rate: float, first: float, last: float) -> np.ndarray:
    """The times first, first + 1 / rate, ... until the file's length, and before `last`."""
    # The small numbers keep the last point where 0.3 * 10 is 2.9999999999999996.
    number = math.floor((length - first) * rate + 1e-6) + 1
    if number > _MOST:
        raise Unusable(f"{path}: lasts {length:g} s, which gives {number} tokens; is `unit` right?")
    grid = first + np.arange(max(0, number)) / rate
    return grid[grid < last - 1e-9]


def _interpolated(
    where: str, times: np.ndarray, values: np.ndarray, at: np.ndarray, max_gap: float, strict: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One column's values at the times `at`, from its finite ones, and which lie in a gap that is too long, where the
    value before it stays; if `strict`, that raises Unusable."""
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
    if long.any() and strict:
        worst = int(np.argmax(long))
        raise Unusable(
            f"{where} has no value from {left[worst]:g} s to {right[worst]:g} s, longer than max_gap, {max_gap:g} s; "
            "raise it, set long_gap: skip or hold, or correct `unit`"
        )
    return np.where(long, values[before.clip(0)], np.interp(at, times, values)), long
