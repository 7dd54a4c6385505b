"""A function of the user's and TensorBoard get every epoch; neither costs the run anything."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.config import Config
from sparsefuse.experiments.grid import compare
from sparsefuse.files import checkpoint
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Epoch
from sparsefuse.training.train import train


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return tiny.config(tiny.write_set(tmp_path / "data"), epochs=3)


def test_every_epoch_reaches_the_function_with_its_record(config: Config, tmp_path: Path) -> None:
    told = []
    run = train(config, tmp_path / "run", measured=False, on_epoch=lambda *given: told.append(given))
    assert told == [(epoch, run) for epoch in RunFolder(run).epochs()]
    assert [epoch.epoch for epoch, _ in told] == [1, 2, 3]


@pytest.mark.slow
def test_a_function_that_raises_ends_training_after_the_epoch_is_saved(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def fails(epoch: Epoch, run: Path) -> None:
        if epoch.epoch == 2:
            raise KeyError("experiment")

    message = r"on_epoch raised KeyError: 'experiment'; .*run is saved up to epoch 2 and can be resumed"
    with pytest.raises(RuntimeError, match=message):
        train(config, run, measured=False, on_epoch=fails)
    assert checkpoint.load(run / "last.safetensors").facts["progress"]["epoch"] == 2
    train(config, run, measured=False, resume=True, on_epoch=fails)  # the third epoch is all that is left
    planned = train(config, tmp_path / "planned", measured=False)
    mine, theirs = (checkpoint.load(folder / "last.safetensors").tensors for folder in (run, planned))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def note(epoch: Epoch, run: Path) -> None:
    with (run.parent / "told.txt").open("a") as file:
        file.write(f"{run.name} {epoch.epoch} {sorted(epoch.scores)[0]}\n")


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_compare_calls_a_function_of_a_module_and_refuses_others(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="on_epoch is sent to other processes, so it must be a module-level function"):
        compare(config, ["late"], [0], tmp_path / "runs", baseline=False, jobs=1, on_epoch=lambda epoch, run: None)
    assert not (tmp_path / "runs").exists()
    compare(config, ["late"], [0, 1], tmp_path / "runs", baseline=False, jobs=1, on_epoch=note)
    lines = (tmp_path / "runs/told.txt").read_text().splitlines()
    assert sorted(lines) == [f"late-seed{seed} {epoch} valid_loss" for seed in (0, 1) for epoch in (1, 2, 3)]


def test_tensorboard_shows_the_lines_of_metrics_jsonl_once(config: Config, tmp_path: Path) -> None:
    """The run is stopped after its first epoch; what is written of a later one before a kill does not show."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from torch.utils.tensorboard import SummaryWriter

    config = dataclasses.replace(config, train=dataclasses.replace(config.train, log="tensorboard"))
    run = train(config, tmp_path / "run", measured=False, stop=lambda _: True)
    lost = SummaryWriter(str(run / "tensorboard"))
    lost.add_scalar("lr", 9.0, 2)
    lost.close()
    train(config, run, measured=False, resume=True)
    shown = accumulator.EventAccumulator(str(run / "tensorboard"))
    shown.Reload()
    lines = tiny.epochs(run)
    assert set(shown.Tags()["scalars"]) == lines[0].keys() - {"epoch"}
    for name in ("lr", "train_loss", "valid_top1"):
        events = [(event.step, event.value) for event in shown.Scalars(name)]
        assert events == [(line["epoch"], pytest.approx(line[name])) for line in lines]


def test_without_tensorboard_the_command_that_installs_it_is_said_first(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"train\.log=tensorboard needs tensorboard: pip install 'sparsefuse\[tensor"):
        train(
            dataclasses.replace(config, train=dataclasses.replace(config.train, log="tensorboard")),
            tmp_path / "run",
            measured=False,
        )
    assert not (tmp_path / "run").exists()
