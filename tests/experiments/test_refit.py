"""A model that was trained again stays, but is never taken for that of another choice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from sparsefuse.config import Config
from sparsefuse.experiments import refit as module
from sparsefuse.experiments.refit import refit_chosen
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.training.train import train

pytestmark = pytest.mark.usefixtures("made_up_costs")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    return replace(config, method="late", options={"late": {"dim": 10}})


@pytest.mark.slow
def test_the_model_of_an_earlier_choice_is_not_taken_for_that_of_this_one(config: Config, tmp_path: Path) -> None:
    """As where the folder of a search was removed, and the one beside it, of its last model, was not."""
    first = train(config, tmp_path / "first", measured=False, shown=False)
    other = train(replace(config, options={"late": {"dim": 20}}), tmp_path / "other", measured=False, shown=False)
    last = refit_chosen(first, tmp_path / "last")
    ended = RunFolder(last).file(Result).stat().st_mtime_ns
    assert refit_chosen(first, last) == last
    with pytest.raises(ValueError, match=r"last was started with .*dim"):
        refit_chosen(other, last)
    assert RunFolder(last).file(Result).stat().st_mtime_ns == ended
    assert RunFolder(last).read(Config).options == {"late": {"dim": 10}}


def test_nor_is_the_ensemble_of_one(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RunFolder(train(config, tmp_path / "first", measured=False, shown=False))
    last = train(config, tmp_path / "last", name="ensemble of late and mbt, refit", measured=False, shown=False)

    def trained(runs: list[RunFolder], *_: Any, **__: Any) -> Path:
        return runs[0].path

    monkeypatch.setattr(module, "members_in", lambda _: [first, first])
    monkeypatch.setattr(module, "refit", trained)
    with pytest.raises(ValueError, match="is ensemble of late and mbt, refit, and the one chosen now is late, refit"):
        refit_chosen(first.path, last)
    result = RunFolder(last).read(Result)
    RunFolder(last).write(replace(result, name="late, refit"))
    assert refit_chosen(first.path, last) == last
