"""How a sensor's file is read when nobody says."""

from pathlib import Path

import pytest

from sparsefuse.features._cells import Layout
from sparsefuse.features._readings import Readings
from sparsefuse.features._sensors import Sensors, sensors_of

WINDOWS = {"window": 0.6, "hop": 0.3, "contents": ["statistics", "energy"], "long_gap": "skip"}


def found(
    folder: Path, header: str, row: str, rows: int = 100, answers: tuple[str, ...] = (), **stated: object
) -> Sensors:
    """Of a file whose cells are `row` with i, the number of the row, times the whole number that stands before it."""
    path = folder / "a.csv"
    lines = [
        ",".join(f"{int(cell[:-1] or 1) * i}" if cell.endswith("i") else cell for cell in row.split(","))
        for i in range(1, rows + 1)
    ]
    path.write_text("\n".join([header, *lines][not header :]))
    return sensors_of(Readings(path, Layout(), (), None), answers, stated)


def test_many_readings_at_whole_steps_come_in_milliseconds_which_is_said(tmp_path: Path) -> None:
    """20 is hardly a step in seconds, of 100 readings; of 60 it may be."""
    options, _, (guess,) = found(tmp_path, "timestamp,x,y", "20i,1,2")
    assert options == {"": {"columns": ["x", "y"], "time": "timestamp", "unit": 1e-3, **WINDOWS}}
    assert guess.startswith("'timestamp' is the time, 50 readings a second: tokens are windows of 0.6 s, if its unit")
    assert found(tmp_path, "timestamp,x,y", "20i,1,2", rows=60).options == {"": {"columns": ["x", "y"]}}
    assert "window" not in found(tmp_path, "timestamp,x,y", "300i,1,2").options[""]


@pytest.mark.parametrize(
    ("name", "step", "unit"),
    [("time_ms", "20i", 1e-3), ("ms", "20i", 1e-3), ("Time (us)", "20000i", 1e-6), ("elapsed ns", "9000000i", 1e-9)],
)
def test_the_name_of_a_clock_says_its_unit(tmp_path: Path, name: str, step: str, unit: float) -> None:
    options, notes, guesses = found(tmp_path, f"{name},x,y", f"{step},1,2", rows=20)
    assert options == {"": {"columns": ["x", "y"], "time": name, "unit": unit, **WINDOWS}}
    assert len(notes) == 1
    assert not guesses


def test_seconds_that_are_named_so_are_slow(tmp_path: Path) -> None:
    assert found(tmp_path, "time_s,x,y", "20i,1,2").options == {"": {"columns": ["x", "y"]}}


def test_a_first_column_that_rises_is_the_clock(tmp_path: Path) -> None:
    assert found(tmp_path, "", "20i,1,2").options[""]["time"] == "0"


def test_without_a_clock_many_readings_are_taken_for_50_a_second(tmp_path: Path) -> None:
    options, _, (guess,) = found(tmp_path, "u,v", "1,2")
    assert options == {"": {"file_rate": 50.0, **WINDOWS}}
    assert guess.startswith("no column of times; 50 readings a second are assumed, so that tokens are windows of 30 ")
    assert found(tmp_path, "u,v", "1,2", rows=64).options == {"": {}}
    wide = ",".join(f"f{i}" for i in range(33))
    assert found(tmp_path, wide, ",".join("1" * 33)).options == {"": {}}, "features of another program"


@pytest.mark.parametrize(
    "names",
    ["acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z", "acc x (g),acc y (g),acc z (g),gyr x,gyr y,gyr z",
     "accX,accY,accZ,gyrX,gyrY,gyrZ", "x_acc,y_acc,z_acc,x_gyr,y_gyr,z_gyr"],
)  # fmt: skip
def test_axes_that_are_named_so_are_a_stream_of_each_sensor_with_its_length(tmp_path: Path, names: str) -> None:
    options = found(tmp_path, f"time_ms,{names},heat", "20i,1,2,3,4,5,6,7").options
    shared, each = {"time": "time_ms", "unit": 1e-3, **WINDOWS}, names.split(",")
    assert options == {
        "acc": {**shared, "columns": each[:3], "norm": "add"},
        "gyr": {**shared, "columns": each[3:], "norm": "add"},
        "rest": {**shared, "columns": ["heat"]},
    }


def test_three_axes_alone_have_a_length_and_no_name(tmp_path: Path) -> None:
    assert found(tmp_path, "ms,x,y,z", "20i,1,2,3").options[""]["norm"] == "add"
    assert "norm" not in found(tmp_path, "ms,x,y,z,heat", "20i,1,2,3,4").options[""]


def test_an_answer_a_count_and_words_are_no_readings(tmp_path: Path) -> None:
    """A label in every row of a recording would be learned, and say nothing of a new one."""
    options, notes, _ = found(tmp_path, ",time_ms,x,y,Subject,kind,note", "i,20i,1,2,3,4,ok", answers=("kind",))
    assert options[""]["columns"] == ["x", "y"]
    assert [note.partition(" ")[0] for note in notes] == ["''", "'Subject'", "'kind'", "'note'", "'time_ms'"]


def test_what_is_stated_decides_and_the_rest_follows(tmp_path: Path) -> None:
    """A file of 20 rows of which nobody could tell whether they are fast."""
    assert found(tmp_path, "n,x,y", "20i,1,2", rows=20, time="n", unit=1e-3).options == {
        "": {"columns": ["x", "y"], "time": "n", "unit": 1e-3, **WINDOWS}
    }
    assert found(tmp_path, "x,y", "1,2", rows=20, file_rate=25).options == {"": {"file_rate": 25.0, **WINDOWS}}
    assert found(tmp_path, "x,y,z", "1,2,3", window=None).options == {"": {}}
    axes = "acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z"
    assert found(tmp_path, axes, "1,2,3,4,5,6", columns=["acc_x", "gyr_x"]).options[""]["columns"] == ["acc_x", "gyr_x"]
