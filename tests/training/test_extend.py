"""More epochs for a run: with the plateau schedule it becomes the run that was planned so, bit for bit."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.config import Config
from sparsefuse.experiments.grid import compare
from sparsefuse.files import checkpoint, whole
from sparsefuse.training.train import train

AGAIN = "the test split was already scored after 2 epochs, and then again"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Two epochs in which all that carries over acts: a running mean, mixup, a rate that falls."""
    spec = {"mixup_alpha": 0.3, "mixup_warmup": 1, "ema": 0.6, "patience": 1, "decay": 0.5, "lr": 0.5}
    return tiny.config(tiny.write_set(tmp_path / "data"), epochs=2, **spec)


def to(config: Config, epochs: int, **spec) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs, **spec))


def run_of(config: Config, out: Path, **options) -> Path:
    return train(config, out, measured=False, shown=False, resume=True, **options)


def result_of(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def assert_same_weights(one: Path, other: Path) -> None:
    assert tiny.epochs(one) == tiny.epochs(other)
    for name in ("model.safetensors", "last.safetensors"):
        mine, theirs = checkpoint.load(one / name).tensors, checkpoint.load(other / name).tensors
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())


@pytest.mark.slow
def test_a_finished_run_goes_on_to_the_run_that_was_planned_so(config: Config, tmp_path: Path) -> None:
    planned = run_of(to(config, 4), tmp_path / "planned")
    run = run_of(config, tmp_path / "run")
    assert result_of(run)["epochs"] == 2
    run_of(to(config, 4), run)
    assert_same_weights(run, planned)
    assert (run / "predictions.csv").read_bytes() == (planned / "predictions.csv").read_bytes()
    mine, theirs = result_of(run), result_of(planned)
    assert (mine["epochs"], mine["best_epoch"]) == (4, theirs["best_epoch"])
    assert [mine["test"], mine["valid"]] == [theirs["test"], theirs["valid"]]
    assert mine["warnings"] == [AGAIN, *theirs["warnings"]]
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    run_of(to(config, 4), run)
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


@pytest.mark.slow
def test_an_unfinished_or_untested_run_has_nothing_to_tell(config: Config, tmp_path: Path) -> None:
    run = run_of(config, tmp_path / "stopped", stop=lambda _: True)
    run_of(to(config, 3), run, tested=False)
    run_of(to(config, 4), run)
    planned = run_of(to(config, 4), tmp_path / "planned")
    assert_same_weights(run, planned)
    assert result_of(run)["warnings"] == result_of(planned)["warnings"]


def test_the_temperature_of_other_weights_goes(config: Config, tmp_path: Path) -> None:
    """`predict` divided the logits of newer weights by it, where the longer run was stopped."""
    run = run_of(config, tmp_path / "run")
    assert (run / "calibration.json").exists()
    run_of(to(config, 4), run, stop=lambda _: True)
    assert not (run / "calibration.json").exists()
    run_of(to(config, 4), run)
    assert (run / "calibration.json").exists()


@pytest.mark.slow
def test_a_cosine_goes_on_at_the_rate_of_the_longer_one_and_says_so(config: Config, tmp_path: Path) -> None:
    config = to(config, 2, schedule="cosine", lr=0.01)
    run = run_of(config, tmp_path / "run")
    run_of(to(config, 4), run)
    rates = [line["lr"] for line in tiny.epochs(run)]  # of the last of three steps an epoch
    assert rates[:2] == pytest.approx([0.005 * (1 + math.cos(math.pi * step / 6)) for step in (2, 5)])
    assert rates[2:] == pytest.approx([0.005 * (1 + math.cos(math.pi * step / 12)) for step in (8, 11)])
    told = "the cosine was planned for 2 epochs; extended to 4, it went on at 0.005"
    assert result_of(run)["warnings"][:2] == [AGAIN, told]


@pytest.mark.slow
def test_a_mean_of_the_last_epochs_begins_anew_and_says_so(config: Config, tmp_path: Path) -> None:
    config = to(config, 2, ema=0.0, swa=0.5, best="last")
    planned = run_of(to(config, 4), tmp_path / "planned")
    run = run_of(config, tmp_path / "run")
    run_of(to(config, 4), run)
    mine, theirs = (checkpoint.load(folder / "model.safetensors").tensors for folder in (run, planned))
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())
    told = "the mean of the last weights was planned for 2 epochs; in some it may have been scored"
    assert result_of(run)["warnings"][:2] == [AGAIN, told]


class Killed(BaseException):
    """As sudden as a signal."""


@pytest.mark.slow
def test_a_run_killed_while_it_is_extended_says_the_same(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any of the first files that are written: the checkpoint, and those of the set-up."""
    planned = run_of(to(config, 3), tmp_path / "planned")
    replace = whole.os.replace
    for point in (1, 2, 3, 5, 7):
        run, left = run_of(config, tmp_path / f"run{point}"), point

        def killed_after(source: Path, target: Path) -> None:
            nonlocal left
            replace(source, target)
            left -= 1
            if not left:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(whole.os, "replace", killed_after)
            with pytest.raises(Killed):
                run_of(to(config, 3), run)
        run_of(to(config, 3), run)
        assert_same_weights(run, planned)
        assert result_of(run)["warnings"].count(AGAIN) == 1


def test_what_cannot_be_extended_is_left_as_it_is(config: Config, tmp_path: Path) -> None:
    run = run_of(config, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ValueError, match=r"started with train\.epochs=2, not 1"):
        run_of(to(config, 1), run)
    with pytest.raises(ValueError, match=r"started with train\.lr=0\.5, not 0\.25"):
        run_of(to(config, 4, lr=0.25), run)
    with pytest.raises(FileExistsError, match="--resume"):
        train(to(config, 4), run, measured=False)
    tiny.edit(Path(config.data.manifest), train5={"label": "a"})
    with pytest.raises(ValueError, match="was started with other clips"):
        run_of(to(config, 4), run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    (run / "last.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has finished its 2 epochs, and last\.safetensors.* is not there"):
        run_of(to(config, 4), run)
    assert (run / "result.json").exists()


@pytest.mark.usefixtures("made_up_costs")
def test_a_grid_does_not_extend_the_runs_of_its_table(config: Config, tmp_path: Path) -> None:
    compare(config, ["late"], [0], tmp_path / "runs", root=Path(), baseline=False, jobs=1)
    with pytest.raises(ValueError, match=r"started with train\.epochs=2, not 3"):
        compare(to(config, 3), ["late"], [0], tmp_path / "runs", root=Path(), baseline=False, jobs=1)
