"""How a sensor's file is read when nobody says: its columns and clock in, options of `series` out.

Readings that come fast, or are many, become windows of statistics. What a header says is used: which column is the
clock, and in which unit; which three columns are the axes of one sensor; which are no readings at all.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.labelled import PEOPLE, USUAL
from sparsefuse.features._readings import Readings
from sparsefuse.files.rows import time_columns
from sparsefuse.files.skipped import Unusable

WINDOW = 0.6
"""seconds"""
ASSUMED = 50.0
"""readings a second of many readings whose clock is not known: a usual rate of wearables"""
_WINDOWS = {"window": WINDOW, "hop": WINDOW / 2, "contents": ["statistics", "energy"], "long_gap": "skip"}
_FAST, _SURE = 10.0, 0.25  # readings a second that make a window; seconds from reading to reading
_MANY, _NARROW = 64, 32  # readings, and columns, of what is surely a raw stream
_MILLISECONDS = (2.0, 100.0)  # whole steps that are hardly seconds, where there are many readings
_UNITS = {"ns|nano\\w*": 1e-9, "us|µs|micro\\w*": 1e-6, "ms|msec|milli\\w*": 1e-3, "s|secs?|seconds?": 1.0}
_AXIS = (re.compile(r"(?i)(.+?)[\s_.:-]*([xyz])(?:[\W_].*)?"), re.compile(r"(?i)([xyz])[\s_.:-]+(.+?)"))
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_ANSWERS = PEOPLE | {USUAL, "activity", "class", "target"}


class Sensors(NamedTuple):
    """The options of `series` for each sensor of a file, and what to say of them."""

    options: dict[str, dict[str, Any]]
    """by the name that the sensor's columns share; empty if the file is taken as one"""
    notes: list[str]
    """phrases for log lines, `{name}` being the modality's"""
    guesses: list[str]
    """the same, of what may be wrong"""


class _Clock(NamedTuple):
    column: str
    """empty if there is none"""
    unit: float = 1.0
    rate: float = 0.0
    """readings a second; 0 if that is not known"""
    guessed: bool = False


def sensors_of(table: Readings, answers: Collection[str] = (), stated: Mapping[str, Any] = _NOTHING) -> Sensors:
    """`answers`: names of columns that hold labels or persons, which are no readings. `stated`: options of `series`
    that are known, from which others follow. Raises Unusable for a stated column that is not there."""
    notes, guesses = list[str](), list[str]()
    clock = _clock_of(table, stated)
    chosen = [table.names[table.place(column)] for column in stated.get("columns") or ()]
    columns = chosen or _readings(table, clock.column, {name.lower() for name in answers} | _ANSWERS, notes)
    if not columns:
        return Sensors({"": {}}, notes, guesses)
    options: dict[str, Any] = {"columns": columns} if len(columns) < len(table.names) else {}
    if "window" in stated and stated["window"] is None:
        return Sensors({"": options}, notes, guesses)
    raw = len(table) > _MANY and len(columns) <= _NARROW
    if clock.rate >= _FAST and not clock.column:
        options |= {"file_rate": clock.rate, **_WINDOWS}
    elif clock.rate >= _FAST:
        text = f"{clock.column!r} is the time, {clock.rate:.3g} readings a second: tokens are windows of {WINDOW:g} s"
        if clock.guessed:
            guesses.append(f"{text}, if its unit is the millisecond; for another --features.{{name}}.unit SECONDS")
        else:
            notes.append(text)
        options |= {"time": clock.column, "unit": clock.unit, **_WINDOWS}
    elif clock.column:
        say = f"if it is the clock, say so: --features.{{name}}.time {clock.column!r}"
        notes.append(f"{clock.column!r} is taken for the time, so it is no reading; {say}")
    elif raw:
        guesses.append(
            f"no column of times; {ASSUMED:g} readings a second are assumed, so that tokens are windows of "
            f"{round(WINDOW * ASSUMED)} readings; for another rate --features.{{name}}.file_rate NUMBER"
        )
        options |= {"file_rate": ASSUMED, **_WINDOWS}
    groups = _axes(columns)
    if len(groups) < 2 or chosen:
        return Sensors({"": {**options, **_norm(columns, groups, options)}}, notes, guesses)
    rest = [name for name in columns if not any(name in names for names in groups.values())]
    found = {sensor: {**options, "columns": names, **_norm(names, groups, options)} for sensor, names in groups.items()}
    if rest:
        found["rest"] = {**options, "columns": rest}
    notes.append(f"a stream each: {', '.join(found)}, by the names of columns")
    return Sensors(found, notes, guesses)


def _norm(columns: Sequence[str], groups: dict[str, list[str]], options: dict[str, Any]) -> dict[str, str]:
    """The length of three axes is a reading more, in windows."""
    return {"norm": "add"} if "window" in options and list(columns) in groups.values() else {}


def _axes(columns: Sequence[str]) -> dict[str, list[str]]:
    """Three columns each whose names differ in x, y and z alone, by what they share."""
    found: dict[str, dict[str, str]] = {}
    for name in columns:
        if name.lower() in ("x", "y", "z"):
            found.setdefault("", {})[name.lower()] = name
        elif match := _AXIS[0].fullmatch(name):
            found.setdefault(match[1], {})[match[2].lower()] = name
        elif match := _AXIS[1].fullmatch(name):
            found.setdefault(match[2], {})[match[1].lower()] = name
    named = {re.sub(r"\W+", "_", shared).strip("_"): axes for shared, axes in found.items()}
    return {shared: [axes[axis] for axis in "xyz"] for shared, axes in named.items() if len(axes) == len("xyz")}


def _readings(table: Readings, clock: str, answers: Collection[str], notes: list[str]) -> list[str]:
    """Names of the columns of readings; why others are none is noted."""
    columns, times = [], time_columns(table.names)
    for place, name in enumerate(table.names):
        if name == clock or name in times:
            continue
        reason = "says who or what it is" if name.lower() in answers else ""
        try:
            reason = reason or table.no_reading(place, timed=True)
            table.numbers(place)
        except Unusable:
            reason = reason or "holds no numbers"
        if reason:
            notes.append(f"{name!r} {reason.partition(';')[0]}, so it is no reading")
        else:
            columns.append(name)
    return columns


def _clock_of(table: Readings, stated: Mapping[str, Any]) -> _Clock:
    """The column of times, if there is one, and what it tells of the rate."""
    if stated.get("time") is not None:
        place = table.place(stated["time"])
    elif stated.get("file_rate"):
        return _Clock("", rate=float(stated["file_rate"]))
    else:
        named = [place for place, name in enumerate(table.names) if time_columns([name])]
        named += [place for place, name in enumerate(table.names) if _unit(name) and _rises(table, place)]
        if not named and "clock" in table.no_reading(0, timed=False):
            named = [0]
        if not named:
            return _Clock("")
        place = named[0]
    name = table.names[place]
    known = float(stated.get("unit") or _unit(name))
    with suppress(Unusable):
        dates = table.dates(place)
        for unit in (1.0,) if dates else (known,) if known else (1.0, 1e-3, 1e-6, 1e-9):
            with suppress(Unusable):  # beyond the year 5000, in this unit
                return _told(name, unit, np.diff(table.times(place, unit)), guess=not (dates or known))
    return _Clock(name)


def _told(name: str, unit: float, steps: np.ndarray, *, guess: bool) -> _Clock:
    step = float(np.median(steps)) if len(steps) else 0.0
    if 0 < step <= _SURE:
        return _Clock(name, unit, 1 / step)
    # Longer steps may be a slow sensor's seconds as well as a fast one's milliseconds: the former are hardly so many.
    low, high = _MILLISECONDS
    if guess and unit == 1.0 and len(steps) >= _MANY and low <= step <= high:
        return _Clock(name, 1e-3, 1e3 / step, guessed=True)
    return _Clock(name, unit, 1 / step if step > 0 and not guess else 0.0)


def _unit(name: str) -> float:
    """Seconds, if the name of a clock ends in a unit, or is one; else 0."""
    for words, unit in _UNITS.items():
        if re.fullmatch(rf"(?i)(.*[\W_])?({words})[\W_]*", name):
            return unit
    return 0.0


def _rises(table: Readings, place: int) -> bool:
    try:
        return len(table) > 1 and bool((np.diff(table.numbers(place)) > 0).all())
    except Unusable:
        return False
