"""Progress in notebooks, and in files that take no control codes."""

import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from rich.table import Table

import sparsefuse
import tiny
from sparsefuse import screen
from sparsefuse.runs.records import Epoch
from sparsefuse.training.progress import EpochProgress


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch):
    """rich believes that it writes to a notebook, with ipywidgets or without."""

    def in_notebook(widgets: bool) -> None:
        monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
        monkeypatch.setattr(screen, "find_spec", lambda name: ModuleSpec(name, None) if widgets else None)

    return in_notebook


def test_a_notebook_with_widgets_gets_bars_and_another_counts_as_a_file(notebook, monkeypatch) -> None:
    notebook(widgets=True)
    assert screen.progress_console().is_jupyter
    assert EpochProgress(2, shown=True).live
    assert not EpochProgress(2, shown=False).live
    notebook(widgets=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels do
    assert not screen.progress_console().is_jupyter
    assert not screen.progress_console().is_terminal
    assert not EpochProgress(2, shown=True).live


@pytest.mark.usefixtures("made_up_costs")
def test_what_is_no_terminal_gets_no_control_codes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert not sys.stderr.isatty()
    manifest = tiny.write_set(tmp_path / "data")
    config = tiny.config(manifest, "late", epochs=1)
    print(sparsefuse.compare(config, ["late"], seeds=[0], out=tmp_path / "runs", baseline=False, jobs=1))
    sparsefuse.train(config, tmp_path / "run", measured=False)
    shown = capfd.readouterr()
    assert "1 of 1 runs" in shown.err
    assert re.search(r"epoch 1 of 1: train loss [\d.]+  valid loss [\d.]+  valid top1", shown.err)
    assert "late" in shown.out
    assert "\x1b" not in shown.out + shown.err
    assert "\r" not in shown.out + shown.err


def test_a_long_run_prints_a_few_lines_and_a_bar_none(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    def lines() -> list[str]:
        progress = EpochProgress(40, shown=True)
        for number in range(1, 41):
            progress.epoch(Epoch(number, 0.1, 1.0, 1.0, {}))
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]

    assert [line.split()[1] for line in lines()] == ["1", *map(str, range(4, 41, 4))]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert lines() == []


def test_a_table_in_a_file_is_not_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(*(f"{'x' * 30}{i}" for i in range(6)))
    table.add_row(*(f"{'y' * 30}{i}" for i in range(6)))
    screen.table_console().print(table)
    head = capsys.readouterr().out.splitlines()[1]
    assert all(f"{'x' * 30}{i}" in head for i in range(6))
    monkeypatch.setenv("COLUMNS", "100")
    assert screen.table_console().width == 100, "whoever says how wide it is, is heard"
