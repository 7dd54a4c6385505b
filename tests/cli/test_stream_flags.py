"""Streams of a run as flags of `predict`, and arguments in the wrong order."""

import json
from pathlib import Path

import pytest

import pixel_runs
import point_runs
from command import call
from sparsefuse.cli.streams import as_pairs, streams_of
from sparsefuse.media.png import write_png
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.parts import parts_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pixel_runs.run_of(tmp_path_factory.mktemp("flags") / "run", pixel_runs.predictor_of())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for name, pixels in pixel_runs.scene().items():
        write_png(folder / f"{name}.png", pixels)
    return {name: folder / f"{name}.png" for name in ("depth", "rgb")}


def test_flags_are_the_streams_of_one_scene_wherever_they_stand(run, pictures, tmp_path, monkeypatch, capsys) -> None:
    depth, rgb = pictures.values()
    found = []
    for typed in (
        ["predict", run, f"depth={depth}", f"rgb={rgb}", "--json", "--out", tmp_path / "a"],
        ["predict", run, "--depth", depth, "--json", "--out", tmp_path / "b", f"--rgb={rgb}"],
        ["predict", "--depth", depth, "--rgb", rgb, run, "--out", tmp_path / "c", "--json"],
    ):
        assert call(monkeypatch, *typed) == 0
        found.append(json.loads(capsys.readouterr().out) | {"file": ""})
    assert found[0] == found[1] == found[2]
    assert not found[0]["missing"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--rbg", "a.png"], "unknown option '--rbg'; did you mean '--rgb'?"),
        (["--dept", "a.png", "--rgb", "b.png"], "unknown option '--dept'; did you mean '--depth'?"),
        (["--jsn", "a.png"], "unknown option '--jsn'; did you mean '--json'?"),
    ],
)
def test_unknown_flags_name_the_nearest_stream_or_option(run, monkeypatch, capsys, flags, says) -> None:
    assert call(monkeypatch, "predict", run, "a.csv", *flags) == 2
    assert capsys.readouterr().err.startswith(f"error: {says}")


def test_a_run_that_is_not_there_is_an_error_before_flags(run, monkeypatch) -> None:
    said = str(call(monkeypatch, "predict", run.with_name("runs"), "--rgb", "a.png"))
    assert said.endswith(f"runs not found; did you mean {run}?")


def test_a_stream_without_a_file_is_an_error(run, monkeypatch) -> None:
    assert call(monkeypatch, "predict", run, "--rgb") == "error: --rgb needs a file of this stream"


def test_options_stay_options_and_pairs_stand_before_files() -> None:
    typed = ["predict", "run", "--left_hand", "a.npy", "--json", "--top", "2", "b.csv", "c.csv", "--top_view", "d"]
    pairs = ["predict", "run", "--json", "--top", "2", "left-hand=a.npy", "top_view=d", "b.csv", "c.csv"]
    assert as_pairs(typed, ["json", "left-hand", "top", "top_view"]) == pairs
    assert as_pairs(["predict", "run", "-", "--help"], ["rgb"]) == ["predict", "run", "-", "--help"]


def test_the_streams_of_a_run(run, tmp_path) -> None:
    assert streams_of(["predict", "--top", "2", str(run), "--rgb", "a"]) == ("depth", "rgb")
    assert streams_of(["predict"]) == streams_of(["eval", "run", "--x"]) == streams_of(["predict", "run", "a"]) == ()
    clouds = point_runs.run_of(tmp_path / "clouds", point_runs.predictor_of())
    assert parts_of(RunFolder(clouds)) == ("cloud", "cameras", "rgb", "root")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["predict", "new.mp4", "RUN"], "predict RUN new.mp4"),
        (["predict", "new.mp4", "my own.mp4", "RUN", "--top", "2"], "predict RUN new.mp4 'my own.mp4'"),
        (["explain", "new.mp4", "RUN"], "explain RUN new.mp4"),
        (["finetune", "new.csv", "RUN", "--out", "runs/mine"], "finetune RUN new.csv"),
    ],
)
def test_arguments_in_the_wrong_order_are_said_in_the_right_one(run, monkeypatch, typed, meant) -> None:
    said = str(call(monkeypatch, *(run if word == "RUN" else word for word in typed))).replace(str(run), "RUN")
    assert said == f"error: {typed[1]} is not a run folder, but RUN is; did you mean: sparsefuse {meant}"
