"""What `train` ends with on the screen, if the method was chosen."""

import dataclasses
from pathlib import Path

import pytest

import tiny
from sparsefuse.cli.verbs._tables import print_run
from sparsefuse.report.choice import sentence
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Candidate, Choice
from sparsefuse.training.train import train

CHOICE = Choice("top1", 4, 60.0, None, [Candidate("late", 0.1, 1, 0.75, (0.3, 0.95)), Candidate("sft", 0.2, 1, 0.5)])


def test_candidates_have_validation_scores_and_the_chosen_one_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    manifest, run = tiny.write_set(tmp_path), tmp_path / "run"
    train(tiny.config(manifest, "late", epochs=1), run, measured=False, shown=False)
    train(tiny.config(manifest, "sft", epochs=1), run / "others/sft", measured=False, shown=False, tested=False)
    RunFolder(run).write(CHOICE)
    print_run(run)
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "sft" in line]  # it is no row of the tested ones
    assert "50.0" in line
    assert sum(line.strip().startswith("late") for line in said.splitlines()) == 2
    assert "75.0" in said
    assert "30.0 to 95.0" in said


def test_without_an_interval_none_is_promised() -> None:
    assert "(95 %): late 75.0 (30.0 to 95.0); sft 50.0;" in sentence(CHOICE)
    bare = [dataclasses.replace(one, interval=None) for one in CHOICE.candidates]
    assert "4 validation clips: late 75.0; sft 50.0;" in sentence(dataclasses.replace(CHOICE, candidates=bare))
