"""Several candidates as one, if their mean is better on the validation clips."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

import sparsefuse
import tiny
from sparsefuse.config import Config
from sparsefuse.data.labels import Labels
from sparsefuse.experiments import auto, candidates, ensemble_selection
from sparsefuse.experiments.ensemble_selection import Selection, select_ensemble
from sparsefuse.experiments.grid import Cell
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.runs import next_steps as commands
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, Choice, ModelFacts, Result

LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
SAID = {  # how far class 1 is above class 0
    "best": [-3, 3, -3, 3, 1, -1],  # wrong: the last two
    "other": [1, -1, -3, 3, -3, 3],  # wrong: the first two
    "same": [-3, 3, -3, 3, 1, -1],
    "humble": [-3, 3, -3, 3, 0.2, -0.2],  # wrong in the same, and less sure of it
    "poor": [3, -3, 3, -3, 3, -3],
}


def cells(*names: str, gmacs: float = 1.0) -> list[Any]:
    result = SimpleNamespace(cost=SimpleNamespace(gmacs=gmacs))
    return [SimpleNamespace(name=name, folder=name, run=SimpleNamespace(read=lambda _: result)) for name in names]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(folder: str) -> Any:
        logits = torch.tensor(SAID[folder], dtype=torch.float32)
        ids = [str(i) for i in range(6)]
        return ensemble_selection._Said(
            torch.stack([-logits / 2, logits / 2], 1), LABELS, ids, Labels("class", ("a", "b"))
        )

    monkeypatch.setattr(ensemble_selection, "_said", of)


@pytest.mark.usefixtures("said")
def test_those_that_are_wrong_elsewhere_are_better_together() -> None:
    """The mean is right everywhere: 1 - 3 is below 0 for each of the four."""
    found = select_ensemble(cells("best", "same", "other", "poor"), "top1", None)
    assert found is not None
    assert [cell.name for cell in found.members][:2] == ["best", "other"]
    assert found.score == 1.0
    assert found.name.startswith("ensemble of best")


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize(
    ("names", "main", "gmacs"),
    [(("best", "same", "poor"), "top1", None), (("best", "humble"), "top1", None), (("best",), "top1", None),
     (("best", "other"), "map", None), (("best", "other"), "top1", 1.9)],
    ids=["no other is better", "surer, and no more are right", "one alone", "no classes", "over the budget"],
)  # fmt: skip
def test_else_the_best_is_alone(names: tuple[str, ...], main: str, gmacs: float | None) -> None:
    assert select_ensemble(cells(*names), main, gmacs) is None


@pytest.mark.slow
def test_an_ensemble_is_the_model_and_each_member_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On the people who validated, too, unasked; a rerun leaves all as it is."""
    manifest = tiny.write_set(tmp_path, (12, 8, 4))
    rows = [row | {"subject": f"{row['split']}{i % 2}"} for i, row in enumerate(read_table(manifest).rows)]
    write_table(manifest, rows)

    def both(kept: list[Cell], *_: object) -> Selection:
        return Selection(kept[:2], 0.0, 1.0)

    monkeypatch.setattr(auto, "select_ensemble", both)
    with caplog.at_level("INFO"), mock.patch.object(candidates, "METHODS", ("late", "sft")):
        last = sparsefuse.fit(manifest, method="auto", out=tmp_path / "run", epochs=1, jobs=1)
        run, again = RunFolder(tmp_path / "run"), RunFolder(last)
        assert last == tmp_path / "run-refit"
        choice, result = run.read(Choice), run.read(Result)
        assert len(choice.members) == 2
        assert (result.name, result.method) == (choice.candidates[0].name, "ensemble")
        assert [folder.tested for folder in map(RunFolder, (run.path / "others").iterdir())] == [False] * 4
        assert len(run.read(ModelFacts).members or ()) == 2
        assert (result.splits["train"], result.splits["test"]) == (12, 4)
        for member in (tmp_path / "run-refit-members").iterdir():
            assert RunFolder(member).read(Result).splits["train"] == 20
        assert again.read(Result).test
        assert again.get(Calibration) == run.get(Calibration)
        assert sum(line.startswith(("report:", "refit:")) for line in caplog.messages) == 2
        times = [folder.file(Result).stat().st_mtime_ns for folder in (run, again)]
        # The time that it took is up by now, but not lost.
        assert sparsefuse.fit(manifest, method="auto", out=run.path, epochs=1, jobs=1, time_limit=0.01) == last
        assert [folder.file(Result).stat().st_mtime_ns for folder in (run, again)] == times
        alone = sparsefuse.fit(manifest, method="auto", out=tmp_path / "run", epochs=1, jobs=1, no_refit=True)
        assert alone == run.path
    assert sparsefuse.load(last).predict({"sound": manifest.parent / "features/test1-sound.npy"}).label
    assert run.read(Config).method == "ensemble"
    monkeypatch.setattr(commands, "find_spec", lambda name: None)  # so that nothing else comes first
    verbs = [line.split()[1] for line in commands.next_steps(last)]
    assert verbs == ["predict", "eval"], "explain is of one model"
