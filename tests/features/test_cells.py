"""One recording as many devices write it: what is read is right, or the message names the option that reads it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefuse.features import extractor
from sparsefuse.files.skipped import Unusable

ROWS = [(i / 50, i, i + 0.5, -i) for i in range(30)]
TRUTH = np.array([row[1:] for row in ROWS])
NOON = datetime(2026, 1, 31, 12)
ASK = "name the columns of readings in `columns`"


def point(value: float) -> str:
    return f"{value:.6f}"


def comma(value: float) -> str:
    return point(value).replace(".", ",")


def lines(*head: str, end: str = ",", number: Callable[[float], str] = point, time: Any = None) -> list[str]:
    return [*head, *(end.join([(time or number)(t), *map(number, values)]) for t, *values in ROWS)]


def clock(form: str, begin: datetime = NOON) -> Callable[[float], str]:
    return lambda t: (begin + timedelta(seconds=t)).strftime(form)


def later(unit: int, begin: int = 1_770_000_000) -> Callable[[float], str]:
    return lambda t: str(begin * unit + round(t * unit))


def each(form: str) -> list[str]:
    return [form.format(n=n, t=t, x=x, y=y, z=z) for n, (t, x, y, z) in enumerate(ROWS)]


SHAPES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain": (lines("t,x,y,z"), {"time": "t"}),
    "quoted names with units": (lines('"Time (s)"\t"x (m/s^2)"\t"y"\t"z"', end="\t"), {"time": "Time (s)"}),
    "decimal commas": (lines("t;x;y;z", end=";", number=comma), {"time": "t", "decimal": ","}),
    "decimal commas, no header": (lines(end=";", number=comma), {"time": 0, "decimal": ","}),
    "decimal commas between blanks": (lines(end=" ", number=comma), {"time": 0, "decimal": ","}),
    "decimal commas between tabs": (lines(end="\t", number=comma), {"time": 0, "decimal": ","}),
    "decimal commas in quotes": (
        lines("t,x,y,z", number=lambda v: f'"{comma(v)}"'),
        {"time": "t", "decimal": ","},
    ),
    "a comment": (lines("# device 17", "# rate: 50 Hz", "t,x,y,z"), {"time": "t"}),
    "another comment": (lines("%OpenBCI", "%Rate = 50 Hz", "t,x,y,z"), {"time": "t", "comment": "%"}),
    "units below the names": (lines("t,x,y,z", "s,g,,-"), {"time": "t"}),
    "three rows of words": (lines("S1,S1,S1,S1", "t,x,y,z", "RAW,CAL,CAL,CAL", "s,g,g,g"), {"time": "t", "skip": 1}),
    "a comma ends rows": (lines("t,x,y,z,")[:1] + [f"{line}," for line in lines()], {"time": "t"}),
    "a comma ends rows, no header": ([f"{line}," for line in lines()], {"time": 0}),
    "a semicolon ends rows": ([f"{line};" for line in lines()], {"time": 0}),
    "a bar ends cells": (lines("t|x|y|z", end="|"), {"time": "t"}),
    "names with blanks": (lines("time x-axis (g) y-axis (g) z-axis (g)", end=" "), {"time": 0, "skip": 1}),
    "numbers as names": (lines("0,1,2,3"), {"time": 0}),
    "a word and numbers as names": (lines("time,0,1,2"), {"time": "time"}),
    "a name twice": (lines("t,x,x,z"), {"time": "t"}),
    "an index": (each("{n},{t},{x},{y},{z}"), {"time": 1, "columns": [2, 3, 4]}),
    "texts": (each("7,Jogging,{t},{x},{y},{z};"), {"time": 2, "columns": [3, 4, 5]}),
    "when it began and its rate": (
        ["1770000000.00, 1770000000.00, 1770000000.00", "50.0, 50.0, 50.0", *each("{x}.0,{y},{z}")],
        {"file_rate": 50, "skip": 2},
    ),
    "ISO dates": (lines("when,x,y,z", time=lambda t: str(NOON + timedelta(seconds=t))), {"time": "when"}),
    "ISO dates with a zone": (lines("when,x,y,z", time=clock("%Y-%m-%dT%H:%M:%S.%f+02:00")), {"time": "when"}),
    "ISO dates, no header": (lines(time=clock("%Y-%m-%d %H:%M:%S.%f")), {"time": 0}),
    "the day first": (
        lines("when,x,y,z", time=clock("%d/%m/%Y %H:%M:%S.%f")),
        {"time": "when", "time_format": "%d/%m/%Y %H:%M:%S.%f"},
    ),
    "names of months": (
        lines("when,x,y,z", time=clock("%d-%b-%Y %H:%M:%S.%f")),
        {"time": "when", "time_format": "%d-%b-%Y %H:%M:%S.%f"},
    ),
    "a clock past midnight": (
        lines("when,x,y,z", time=clock("%H:%M:%S.%f", datetime(2026, 1, 31, 23, 59, 59, 800_000))),
        {"time": "when", "time_format": "%H:%M:%S.%f"},
    ),
    "a date and a time": (
        lines("when x y z", end=" ", time=lambda t: str(NOON + timedelta(seconds=t))),  # whole seconds have no fraction
        {"skip": 1, "time": 1, "time_format": "%H:%M:%S.%f", "columns": [2, 3, 4]},
    ),
    "milliseconds since 1970": (lines("t,x,y,z", time=later(1000)), {"time": "t", "unit": 1e-3}),
    "nanoseconds since 1970": (lines(time=later(10**9)), {"time": 0, "unit": 1e-9}),
    "thousands in quotes": (
        ["t,x,y,z", *(f'{t},{x},"{y:,.1f}",{z}' for t, x, y, z in ROWS)],
        {"time": "t", "thousands": ","},
    ),
    "thousands": (
        ["t;x;y;z", *(f"{comma(t)};{x};{comma(y)};{z}" for t, x, y, z in ROWS)],
        {"time": "t", "decimal": ",", "thousands": "."},
    ),
}


def write(path: Path, text: list[str], end: str = "\n", encoding: str = "utf-8") -> Path:
    path.write_bytes("".join(line + end for line in text).encode(encoding))
    return path


@pytest.mark.parametrize(("text", "options"), SHAPES.values(), ids=SHAPES)
def test_a_recording_is_the_same_however_it_is_written(tmp_path: Path, text: list[str], options: dict) -> None:
    file = write(tmp_path / "a.csv", text)
    np.testing.assert_allclose(extractor("series")(file, **options), TRUTH)
    np.testing.assert_allclose(extractor("series")(file, rate=25, **options), TRUTH[::2], atol=1e-4)
    part = extractor("series")(file, start=0.1, end=0.2, **options)
    np.testing.assert_allclose(part, TRUTH[5:10])  # times are exact: row 5 is in, row 10 is not


@pytest.mark.parametrize(
    ("end", "encoding", "options"),
    [
        ("\r\n", "utf-8-sig", {}),
        ("\r", "utf-8", {}),
        ("\r\n\r\n", "utf-16", {}),
        ("\r\n", "utf-16-le", {"encoding": "utf-16-le"}),
        ("\n", "cp1252", {"encoding": "cp1252"}),
    ],
)
def test_ends_of_lines_and_encodings_change_nothing(tmp_path: Path, end: str, encoding: str, options: dict) -> None:
    file = write(tmp_path / "a.csv", lines("t;x (m/s²);y (°/s);z", end=";"), end, encoding)
    np.testing.assert_allclose(extractor("series")(file, time="t", **options), TRUTH)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        (["hr", *map(comma, TRUTH[:, 1])], {"decimal": ","}, TRUTH[:, 1]),
        ([f"{value:g}".replace(".", ",") for value in TRUTH[:, 0] / 4], {"decimal": ","}, TRUTH[:, 0] / 4),
        (["heart rate (bpm)", *map(point, TRUTH[:, 0])], {}, TRUTH[:, 0]),
        ([f"1,{i:03d}.5" for i in range(30)], {"thousands": ","}, 1000.5 + TRUTH[:, 0]),
        ([f"1.{i:03d},5" for i in range(30)], {"thousands": ".", "decimal": ","}, 1000.5 + TRUTH[:, 0]),
        ([f"1.{i:03d}" for i in range(30)], {"thousands": "."}, 1000 + TRUTH[:, 0]),
        ([f"1 {i:03d}" for i in range(30)], {"thousands": " ", "decimal": ","}, 1000 + TRUTH[:, 0]),
    ],
)
def test_one_column_is_one_column(tmp_path: Path, text: list[str], options: dict, expected: np.ndarray) -> None:
    np.testing.assert_allclose(extractor("series")(write(tmp_path / "a.csv", text), **options)[:, 0], expected)


def test_two_columns_of_whole_numbers_are_two_if_a_point_is_decimal(tmp_path: Path) -> None:
    pairs = [(3 * i % 7, i % 5) for i in range(30)]
    file = write(tmp_path / "a.csv", [f"{one},{other}" for one, other in pairs])
    with pytest.raises(
        Unusable, match=r"line 1: is 0,0 one number, or two\? set `decimal: ','` for one, `decimal: '.'`"
    ):
        extractor("series")(file)
    np.testing.assert_array_equal(extractor("series")(file, decimal="."), pairs)
    np.testing.assert_allclose(extractor("series")(file, decimal=",")[:, 0], [a + b / 10 for a, b in pairs])


def test_numbers_that_stand_for_no_value_are_filled(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ["t,x", "0,1", "0.5,-9999", "1,3"])
    np.testing.assert_allclose(extractor("series")(file, time="t", missing=[-9999])[:, 0], [1, 2, 3])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            lines("t;x;y;z", end=";", number=comma),
            {"time": "t"},
            "line 2, column 'x': '0,000000' is not a number; set `dec",
        ),
        (lines(end=" ", number=comma), {}, "set `decimal: ','`"),
        (lines(end=" ", number=comma), {"time": 0}, "set `decimal: ','`"),
        (lines(number=comma), {}, "is 0,000000 one number, or two? set `decimal: ','`"),
        (list(map(comma, TRUTH[:, 1])), {}, "is 0,500000 one number, or two? set `decimal: ','`"),
        (["hr", *map(comma, TRUTH[:, 1])], {}, "is 0,500000 one number, or two? set `decimal: ','`"),
        ([f"{value:g}".replace(".", ",") for value in TRUTH[:, 0] / 4], {}, "set `decimal: ','`"),
        (["t\tx", "0\t1,5E+00"], {}, "'1,5E+00' is not a number; set `decimal: ','`"),
        (["t\tx", "0\t1,000.5"], {}, "'1,000.5' is not a number; set `thousands: ','`"),
        (["t\tx", "0\t1,000"], {}, "'1,000' is not a number; set `decimal: ','`, or `thousands: ','`"),
        (["x", "1", "#DIV/0!", "3"], {}, "line 3, column 'x': '#DIV/0!' is not a number"),
        (["day,x", "2026-01-31,1", "2026-01-31,2"], {"time": "day"}, "'2026-01-31' is the time of every row"),
        (["t;x", "0,5;1.000"], {"decimal": ","}, "'1.000' is not a number; set `thousands: '.'`"),
        (["t;x", "0,5;1.5"], {"decimal": ","}, "'1.5' is not a number; it has a point, and `decimal` is a comma"),
        (
            ["t;x", "0;12.5", "1;12.512"],
            {"thousands": "."},
            "'12.5' is not a number; it has a point, and `decimal` is a",
        ),
        (["t;x", "0;1_000"], {}, "'1_000' is not a number"),
        (lines("%device 17", "t,x,y,z"), {}, "line 1: 1 cells, most rows have 4, the first in line 2; leave out"),
        (lines("t,x,y"), {}, "leave out what is above with `skip: 1`"),
        (lines("time x-axis (g) y (g) z", end=" "), {}, "line 1: 6 cells, most rows have 4"),
        (["1770000000.0, IBI", *lines()], {}, "`skip: 1`"),
        (["1.5,IBI", "1,2", "2,3"], {}, "'IBI' is not a number; leave the line out with `skip: 1`"),
        (["1770000000,1770000000", "50,50", "1,2"], {}, "set `file_rate: 50` and `skip: 2`"),
        (["1770000000,1770000000", "50,51", "1,2"], {}, "looks like the time it began; set `skip: 1`"),
        (lines("S1,S1,S1,S1", "t,x,y,z"), {"time": "t"}, "leave out lines above the names with `skip`"),
        (lines("t,x,x,z"), {"columns": ["x"]}, "several columns are called 'x'"),
        (lines("t,x,y,z"), {}, "column 't' rises as a clock does; name it in `time`, or " + ASK),
        (lines(), {}, "column '0' rises as a clock does"),
        (each("{t},{n}"), {"time": 0}, None),
        (["ms since start,time,x", *each("{n},{t},{x}")], {"time": 0, "unit": 0.02}, "column 'time' rises as a clock"),
        (["n,x", *each("{n},{y}")], {"file_rate": 50}, "column 'n' counts the rows; " + ASK),
        (["n,x", *(f"{n % 16},{y}" for n, (_, _, y, _) in enumerate(ROWS))], {"file_rate": 50}, "counts the rows"),
        ([",x,y", *each("{z},{x},{y}")], {"file_rate": 50}, "column '' has no name, as an index has none"),
        (lines("when,x,y,z", time=clock("%d/%m/%Y %H:%M")), {"time": 0}, "is not a time; set `time_format`"),
        (lines("when,x,y,z", time=clock("%Y-%m-%d %H:%M")), {}, "if it is a time, name its column in `time`"),
        (
            lines("t,x,y,z", time=later(1000)),
            {"time": "t"},
            "beyond the year 5000 in seconds; set `unit`, such as 0.001",
        ),
        (lines("t,x,y,z", time=later(10**9, 5000)), {"time": "t"}, "set `unit`, such as 1e-09"),
    ],
)
def test_what_cannot_be_read_as_it_is_names_the_option(
    tmp_path: Path, text: list[str], options: dict, message: str | None
) -> None:
    file = write(tmp_path / "a.csv", text)
    if message is None:
        assert len(extractor("series")(file, **options)) == len(ROWS)
        return
    with pytest.raises(Unusable) as caught:
        extractor("series")(file, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp1252", "is not UTF-8 text (byte 8); set `encoding`, such as cp1252"),
        ("utf-16-le", "set `encoding`, such as"),
    ],
)
def test_another_encoding_is_asked_for(tmp_path: Path, encoding: str, message: str) -> None:
    file = write(tmp_path / "a.csv", lines("t;x (m/s²);y;z", end=";"), encoding=encoding)
    with pytest.raises(Unusable) as caught:
        extractor("series")(file, time="t")
    assert message in str(caught.value)
