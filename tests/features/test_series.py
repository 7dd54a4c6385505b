"""Sensor tables of a few rows, whose tokens are worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from sparsefuse.features import build, extractor
from sparsefuse.features.extract import extract
from sparsefuse.files.skipped import Unusable

series = extractor("series")
WALK = "t,ax,ay\n0,0,10\n1,1,\n2,2,30\n4,4,50\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "a.csv") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_columns_are_chosen_by_name_or_number_and_units_stay(write) -> None:
    file = write("t,ax,ay\n0,9.81,-1\n1,9.5,-2\n")
    np.testing.assert_allclose(series(file), [[0, 9.81, -1], [1, 9.5, -2]])
    np.testing.assert_allclose(series(file, time="t"), [[9.81, -1], [9.5, -2]])
    np.testing.assert_allclose(series(file, columns=["ay", 1]), [[-1, 9.81], [-2, 9.5]])
    assert series(file).dtype == np.float32


@pytest.mark.parametrize(
    "text", ["1,2\n3,4\n", "1;2\n3;4\n", "1\t2\n3\t4\n", "1 2\n\n3 4\n", "\ufeffa,b\r\n1,2\r\n3,4\r\n"]
)
def test_a_table_may_have_a_header_or_none_and_other_separators(write, text: str) -> None:
    np.testing.assert_array_equal(series(write(text)), [[1, 2], [3, 4]])


def test_the_mark_that_spreadsheets_put_first_is_no_part_of_a_name(write) -> None:
    np.testing.assert_array_equal(series(write("\ufeffa,b\n1,2\n"), columns=["a"]), [[1]])


def test_one_column_needs_no_separator(write) -> None:
    np.testing.assert_array_equal(series(write("1\n2\n3\n")), [[1], [2], [3]])


def test_a_rate_interpolates_between_rows(write) -> None:
    file = write("t,x\n10,0\n11,10\n12,40\n")
    np.testing.assert_allclose(series(file, time="t", rate=2), [[0], [5], [10], [25], [40]])
    np.testing.assert_allclose(
        series(file, columns=["x"], file_rate=1, rate=4)[:, 0], [0, 2.5, 5, 7.5, 10, 17.5, 25, 32.5, 40]
    )
    np.testing.assert_allclose(series(file, time="t", rate=0.5)[:, 0], [0, 40])


def test_a_short_gap_is_a_line_and_a_long_one_an_error_or_held(write) -> None:
    file = write(WALK)
    np.testing.assert_allclose(series(file, time="t", rate=1, max_gap=2), [[0, 10], [1, 20], [2, 30], [3, 40], [4, 50]])
    with pytest.raises(Unusable, match="column 'ax' has no value from 2 s to 4 s, longer than max_gap, 1 s"):
        series(file, time="t", rate=1)
    held = series(file, time="t", rate=1, long_gap="hold")
    np.testing.assert_allclose(held, [[0, 10], [1, 10], [2, 30], [2, 30], [4, 50]])


def test_without_a_rate_only_empty_cells_are_filled(write) -> None:
    filled = series(write(WALK), time="t", max_gap=2)  # that rows 2 and 4 are 2 s apart is no gap then
    np.testing.assert_allclose(filled, [[0, 10], [1, 20], [2, 30], [4, 50]])
    for nothing in ("nan", "NA", "null", "inf", "-"):
        np.testing.assert_allclose(series(write(f"0\n{nothing}\n2\n"), file_rate=2), [[0], [1], [2]])
    with pytest.raises(Unusable, match="filling its empty cells needs the time of each row; give `time`"):
        series(write(WALK))


def test_the_ends_keep_the_nearest_value_by_the_same_rule(write) -> None:
    file = write("t,x\n0,\n1,7\n2,8\n3,\n5,\n")
    held = series(file, time="t", long_gap="hold")
    np.testing.assert_allclose(held[:, 0], [7, 7, 8, 8, 8])
    with pytest.raises(Unusable, match="from 2 s to 5 s"):
        series(file, time="t")


def test_a_part_begins_at_its_start_and_leaves_its_end_out(write) -> None:
    file = write("t,x\n100,0\n101,10\n102,20\n103,30\n")
    np.testing.assert_allclose(series(file, time="t", start=1, end=3)[:, 0], [10, 20])
    np.testing.assert_allclose(series(file, time="t", rate=2, start=0.5, end=2)[:, 0], [5, 10, 15])
    with pytest.raises(Unusable, match=r"has nothing from 4 s to 5 s; it lasts 3 s"):
        series(file, time="t", start=4, end=5)
    with pytest.raises(Unusable, match="end needs the time of each row"):
        series(file, end=5)


def test_times_may_be_milliseconds_or_dates(write) -> None:
    file = write("ms,x\n1700000000000,1\n1700000000500,2\n1700000001000,3\n")
    np.testing.assert_allclose(series(file, time="ms", unit=0.001, rate=4)[:, 0], [1, 1.5, 2, 2.5, 3])
    file = write("when,x\n2026-01-31 23:59:59.5,1\n2026-02-01 00:00:00.5,3\n")
    np.testing.assert_allclose(series(file, time="when", rate=2)[:, 0], [1, 2, 3])
    with pytest.raises(Unusable, match="max_gap, 1 s; raise it, set long_gap: skip or hold, or correct `unit`"):
        series(write("ms,x\n0,1\n500,2\n"), time="ms", rate=10)


@pytest.mark.parametrize("form", ["{:.2f}", "{:g}"])
def test_seconds_since_1970_are_exact(write, form: str) -> None:
    """A float has no room for .02 s beside 1.77e9: the last of 30 tokens was lost, the others a little off."""
    fractions = [form.format(i / 50).removeprefix("0") for i in range(30)]
    file = write("t,x\n" + "".join(f"1770000000{text},{i}\n" for i, text in enumerate(fractions)))
    np.testing.assert_array_equal(series(file, time="t", rate=50)[:, 0], np.arange(30))
    times = build("series", {"time": "t", "rate": 50}).times(file)
    np.testing.assert_array_equal(times, np.arange(30) / 50)


def test_of_rows_at_the_same_time_the_first_counts(write) -> None:
    file = write("t,x\n0,0\n1,10\n1,99\n2,20\n")
    np.testing.assert_allclose(series(file, time="t", rate=2)[:, 0], [0, 5, 10, 15, 20])
    np.testing.assert_allclose(series(file, time="t")[:, 0], [0, 10, 99, 20])


def test_a_clock_that_steps_back_a_little_is_put_in_order(write) -> None:
    file = write("t,x\n10.2,2\n10,0\n10.1,1\n10.2,9\n10.3,3\n")  # the one first received at 10.2 counts
    np.testing.assert_allclose(series(file, time="t")[:, 0], [0, 1, 2, 3])
    np.testing.assert_allclose(series(file, time="t", rate=20)[:, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "a.csv: is empty"),
        ("a,b\n", {}, "a.csv: has only a header"),
        ("a,b\n1,2\n3\n", {}, "line 3: 1 cells, most rows have 2; was it cut short?"),
        ("a,b\n1,walk\n", {}, "line 2, column 'b': 'walk' is not a number; name the columns of numbers in `columns`"),
        ("a;b\n1,5;2\n", {}, "line 2, column 'a': '1,5' is not a number; set `decimal: ','`"),
        ("ax,b\n1,2\n", {"columns": ["xa"]}, "unknown column 'xa'; did you mean 'ax'"),
        ("1,2\n", {"columns": [2]}, "there is no column 2, it has 2, counted from 0"),
        (
            "t,b\n2,2\n0,2\n",
            {"time": "t"},
            "line 3, column 't': '0': the time goes back by 2 s, more than max_gap, 1 s",
        ),
        ("t,b\n1,2\n.9,2\n", {"time": "t", "unsorted": "error"}, "'.9': the time goes back by 0.1 s"),
        ("t,b\n1,2\n,2\n", {"time": "t"}, "line 3, column 't': has no time"),
        ("t,b\nnoon,2\n", {"time": "t"}, "'noon' is not a time"),
        ("t,b\n0,\n1,\n", {"time": "t"}, "column 'b' has no value"),
        ("t\n0\n", {"time": "t"}, "has no column but 't'"),
    ],
)
def test_a_broken_file_says_what_and_where(write, text: str, options: dict, message: str) -> None:
    with pytest.raises(Unusable) as caught:
        series(write(text), **options)
    assert message in str(caught.value)


def test_a_missing_file_is_unusable(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"gone\.csv: missing"):
        series(tmp_path / "gone.csv")


@pytest.mark.parametrize(
    "options",
    [
        *({"rate": 0}, {"unit": -1}, {"max_gap": 0}, {"columns": []}, {"long_gap": "line"}),
        *({"skip": -1}, {"encoding": "utf8-bom"}, {"decimal": ";"}, {"unsorted": "drop"}),
    ],
)
def test_a_wrong_option_is_refused_before_any_work(options: dict) -> None:
    with pytest.raises(ValueError, match="extractor 'series'"):
        build("series", options)


@pytest.mark.parametrize(
    ("first", "options", "notes"),
    [
        ("0", {"time": "t", "file_rate": 50}, ["file_rate is not used, as column 't' has the times"]),
        ("0", {"time": "t", "unit": 0.001}, []),
        ("2026-01-31 12:00:00", {"time": "t", "unit": 0.001}, ["unit is not used, as column 't' has dates"]),
        ("2026-01-31 12:00:00", {"time": "t"}, []),
        ("0", {"columns": ["x"], "file_rate": 50, "unit": 0.001}, ["unit is not used, as `time` names no column"]),
        ("0", {"columns": ["x"], "time_format": "%S"}, ["time_format is not used, as `time` names no column"]),
        ("0", {"columns": ["x"], "file_rate": 50}, []),
    ],
)
def test_what_says_how_fast_a_file_goes_and_is_not_used_is_told(write, first: str, options, notes: list[str]) -> None:
    second = "1" if first == "0" else "2026-01-31 12:00:01"
    file = write(f"t,x\n{first},0\n{second},10\n")
    assert build("series", options).notes(file) == notes


def test_an_option_that_is_not_used_is_told_by_extract(write, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("t,x\n0,0\n1,10\n")
    write("id,imu\n1,a.csv\n", "m.csv")
    spec = {"extractor": "series", "source": "imu", "time": "t", "file_rate": 50}
    extract(tmp_path / "m.csv", tmp_path / "out", features={"imu": spec}, jobs=1, progress=False)
    assert "imu of 1 clips is odd; the first: " in caplog.text
    assert "file_rate is not used, as column 't' has the times" in caplog.text
