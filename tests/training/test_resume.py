"""A run that is stopped anywhere and resumed equals, bit for bit, one that was never stopped."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tiny
from command import call
from sparsefuse.config import Axes, Config, Picture, SpecAugment
from sparsefuse.files import checkpoint, whole
from sparsefuse.inference.evaluate import evaluate
from sparsefuse.training.train import train


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """All that draws random numbers is on, in every epoch; a checkpoint after every batch; the rate decays."""
    manifest = tiny.write_set(tmp_path / "data")
    found = tiny.config(
        manifest,
        "concat",
        options={"drop": 0.3},
        epochs=3,
        mixup_alpha=0.3,
        mixup_warmup=1,
        patience=1,
        decay=0.5,
        lr=0.5,
        ema=0.6,
        save_minutes=0.0,
    )
    return tiny.with_data(found, modality_dropout=0.3, token_dropout=0.2, crop=0.4, noise=0.1)


def assert_same_run(one: Path, other: Path) -> None:
    assert tiny.epochs(one) == tiny.epochs(other)
    for name in ("model.safetensors", "last.safetensors"):
        mine, theirs = checkpoint.load(one / name), checkpoint.load(other / name)
        assert mine.tensors.keys() == theirs.tensors.keys()
        for key, tensor in mine.tensors.items():
            assert torch.equal(tensor, theirs.tensors[key]), key
        for facts in (mine.facts, theirs.facts):
            facts.get("progress", {}).pop("seconds", None)
        assert mine.facts == theirs.facts
    for name in ("predictions.csv", "model.json", "config.json", "skipped.jsonl"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    results = [json.loads((run / "result.json").read_text()) for run in (one, other)]
    for result in results:
        result.pop("seconds")
    assert results[0] == results[1]


def test_a_run_of_a_version_with_fewer_settings_is_continued_unless_one_is_used(tmp_path: Path) -> None:
    """A setting that was not there is as its default."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    settings = json.loads((run / "config.json").read_text())
    del settings["data"]["windows"]
    del settings["train"]["mixup"]
    (run / "config.json").write_text(json.dumps(settings))
    assert train(config, run, root=Path(), resume=True) == run
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, mixup="input"))
    with pytest.raises(ValueError, match=r"was started with train\.mixup='manifold', not 'input'"):
        train(other, run, root=Path(), resume=True)


def _changed(facts: dict, tensors: dict, change: str) -> None:
    if change == "epoch":
        facts["progress"]["epoch"] = "1"
    elif change == "batch":
        facts["progress"]["batch"] = -5
    elif change == "progress":
        facts["progress"] = 7
    elif change == "schedule":
        del facts["schedule"]
    elif change == "tensor":
        tensors["optimizer/0/exp_avg"] = torch.zeros(3, 1, 4)
    elif change == "name":
        tensors["optimizer/x"] = tensors.pop("optimizer/0/exp_avg")
    else:
        del tensors["optimizer/1/exp_avg"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("epoch", r"last\.safetensors, progress: epoch is a text; expected a whole number"),
        ("batch", r"last\.safetensors, progress: .*batch=-5"),
        ("progress", r"last\.safetensors, progress holds 7; expected an object"),
        ("schedule", r"last\.safetensors, schedule holds null; expected an object"),
        ("tensor", "does not fit the optimizer: optimizer/0/exp_avg is not of it"),
        ("name", "does not fit the optimizer: optimizer/x is not of it"),
        ("lost", "does not fit the optimizer: some of its tensors are missing"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_a_sentence(tmp_path: Path, change: str, message: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=2)
    run = train(config, tmp_path / "run", root=Path(), measured=False, stop=lambda _: True)
    saved = checkpoint.load(run / "last.safetensors")
    _changed(saved.facts, saved.tensors, change)
    checkpoint.save(run / "last.safetensors", saved.tensors, saved.facts)
    with pytest.raises(ValueError, match=message):
        train(config, run, root=Path(), resume=True)


def test_a_run_that_lost_its_epochs_is_not_resumed(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=2)
    run = train(config, tmp_path / "run", root=Path(), measured=False, stop=lambda _: True)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"last\.safetensors is after 1 epochs, metrics\.jsonl has 0; copy both again"):
        train(config, run, root=Path(), resume=True)


@pytest.mark.slow
def test_a_run_stopped_amid_the_epochs_that_are_averaged_resumes_to_the_same_run(
    config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        config, train=dataclasses.replace(config.train, epochs=4, ema=0.0, swa=0.75, best="top1", best_over=2)
    )
    turns = {"axes": {"sound": Axes(size=2, swap=[(0, 1)])}, "rotate": 20.0, "mirror": 0.5}
    config = tiny.with_data(config, time_warp=0.3, scale=0.2, **turns)
    whole = train(config, tmp_path / "whole", root=Path(), measured=False)
    run, stops = tmp_path / "run", iter([False, True])
    train(config, run, root=Path(), measured=False, stop=lambda _: next(stops))
    assert checkpoint.load(run / "last.safetensors").tensors["mean/n_averaged"] == 1
    assert_same_run(train(config, run, root=Path(), resume=True, measured=False), whole)


class Killed(BaseException):
    """As sudden as a signal, within the process."""


@pytest.mark.slow  # a run for every file
def test_a_run_killed_after_any_file_it_writes_resumes_to_the_same_run(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = train(config, tmp_path / "complete", root=Path(), measured=False)
    assert len({line["lr"] for line in tiny.epochs(complete)}) > 1, (
        "the plateau decay must act for this test to say much"
    )
    replace = whole.os.replace
    points = 0
    while True:
        points += 1
        left = points

        def killed_after(source: Path, target: Path) -> None:
            nonlocal left
            replace(source, target)
            left -= 1
            if not left:
                raise Killed

        monkeypatch.setattr(whole.os, "replace", killed_after)
        run = tmp_path / f"killed{points}"
        try:
            train(config, run, root=Path(), measured=False)
        except Killed:
            monkeypatch.setattr(whole.os, "replace", replace)
            train(config, run, root=Path(), resume=True, measured=False)
            assert_same_run(run, complete)
        else:
            break
    # 4 files of set-up; 3 batches, best, metrics, last an epoch (best not always); predictions, result
    assert points > 4 + 3 * (3 + 2) + 2


def test_a_resumed_run_draws_each_batch_once(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the second batch of the second epoch: one more batch of it, then the third epoch."""
    from sparsefuse.training.train import _Run

    step, done = _Run._step, []

    def noted(self, at, batch, **kwargs):
        loss = step(self, at, batch, **kwargs)
        done.append((at.epoch, at.batch))
        return loss

    def save(self, at, save=_Run.save):
        save(self, at)
        if (at.epoch, at.batch) == (1, 2):
            raise Killed

    monkeypatch.setattr(_Run, "_step", noted)
    with monkeypatch.context() as patch:
        patch.setattr(_Run, "save", save)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", root=Path(), measured=False)
    assert done == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    done.clear()
    train(config, tmp_path / "run", root=Path(), resume=True, measured=False)
    assert done == [(1, 2), (2, 0), (2, 1), (2, 2)]


@pytest.mark.slow
def test_momentum_and_a_cosine_resume_within_an_epoch(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsefuse.training.train import _Run

    spec = dataclasses.replace(
        config.train, optimizer="sgd", schedule="cosine", warmup_epochs=0.5, lr=0.1, mixup="input"
    )
    config = tiny.with_data(
        dataclasses.replace(config, train=spec),
        spec_augment={"sound": SpecAugment(freq=2, time=2)},
        pictures={"rgb": Picture(1, 5, crop=0.3, flip=0.5, brightness=0.2, contrast=0.2)},
    )
    whole = train(config, tmp_path / "whole", root=Path(), measured=False)
    kept = checkpoint.load(whole / "last.safetensors").tensors
    assert any(name.endswith("/momentum_buffer") and tensor.any() for name, tensor in kept.items())
    assert len({line["lr"] for line in tiny.epochs(whole)}) == 3

    def save(self, at, save=_Run.save):
        save(self, at)
        if (at.epoch, at.batch) in ((0, 1), (1, 2)):
            raise Killed

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(_Run, "save", save)
            with pytest.raises(Killed):
                train(config, tmp_path / "run", root=Path(), resume=True, measured=False)
    train(config, tmp_path / "run", root=Path(), resume=True, measured=False)
    assert_same_run(tmp_path / "run", whole)


KILLED = """
import os, signal
from sparsefuse.cli.app import main
from sparsefuse.training.train import _Run

def save(self, at, save=_Run.save):
    save(self, at)
    if (at.epoch, at.batch) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)

_Run.save = save
main()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_sigkill_within_an_epoch_costs_nothing(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the command line, in a process of its own."""
    yaml = tiny.write_yaml(tmp_path / "config.yaml", config)
    run = tmp_path / "killed"
    command = ["train", str(yaml), "--out", str(run)]
    ended = subprocess.run([sys.executable, "-c", KILLED, *command], env=tiny.environment(), capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert len(tiny.epochs(run)) == 1
    assert not (run / "result.json").exists()
    assert call(monkeypatch, *command, "--resume") == 0
    result = json.loads((run / "result.json").read_text())
    for key in (
        "memory_mb",
        "latency_ms",
        "latency_spread_ms",
        "batch_ms",
        "train_ms",
        "floor_ms",
        "batch_floor_ms",
        "batch",
    ):
        del result["cost"][key]
    (run / "result.json").write_text(json.dumps(result))
    assert_same_run(run, train(config, tmp_path / "whole", root=Path(), measured=False))


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert train(config, run, root=Path(), resume=True, measured=False) == run
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_a_run_folder_is_not_overwritten_without_resume(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    with pytest.raises(FileExistsError, match="--resume"):
        train(config, run, root=Path(), measured=False)


def test_resume_without_a_run_starts_one(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    resumed = train(config, tmp_path / "resumed", root=Path(), resume=True, measured=False)
    assert_same_run(resumed, train(config, tmp_path / "fresh", root=Path(), measured=False))


def test_a_truncated_checkpoint_is_an_error_that_names_it(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    (run / "result.json").unlink()
    whole = (run / "last.safetensors").read_bytes()
    (run / "last.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"last\.safetensors is not a complete safetensors file"):
        train(config, run, root=Path(), resume=True, measured=False)


def test_another_configuration_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    before = (run / "config.json").read_bytes()
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, lr=0.5))
    with pytest.raises(ValueError, match=r"started with train\.lr=0\.001, not 0\.5; give another folder"):
        train(other, run, root=Path(), resume=True, measured=False)
    assert (run / "config.json").read_bytes() == before


def test_settings_that_change_no_number_may_differ(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    (run / "result.json").unlink()
    spec = dataclasses.replace(config.train, workers=1, save_minutes=1.0)
    train(dataclasses.replace(config, train=spec), run, root=Path(), resume=True, measured=False)
    assert (run / "result.json").exists()


@pytest.mark.parametrize(
    ("cells", "changed"),
    [
        ({"train5": {"split": "test"}}, "train 9 -> 8 clips, test 4 -> 5 clips"),
        ({"train5": {"label": "a"}}, "train 9 clips with other ids or labels"),
        ({"test0": {"id": "new"}}, "test 4 clips with other ids or labels"),
        ({"valid3": {"sound": "gone.npy", "rgb": ""}}, "valid 4 -> 3 clips"),
    ],
    ids=["split", "label", "id", "file"],
)
def test_a_run_is_not_resumed_or_scored_with_other_clips(tmp_path: Path, cells: dict, changed: str) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    config = tiny.config(manifest, epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    tiny.edit(manifest, **cells)
    split = changed.split()[0]
    with pytest.raises(ValueError, match=rf"manifest\.csv is not what .* trained with \({changed.split(',')[0]}\)"):
        evaluate(run, split=split)
    (run / "result.json").unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ValueError, match=rf"was started with other clips \({changed}\)"):
        train(config, run, root=Path(), resume=True, measured=False)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_rows_in_another_order_are_the_same_clips(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    run = train(tiny.config(manifest, epochs=1), tmp_path / "run", root=Path(), measured=False)
    before = evaluate(run)
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *reversed(rows)]) + "\n")
    assert evaluate(run) == pytest.approx(before)


def test_a_run_that_is_stopped_after_an_epoch_stays_unfinished_and_resumes_to_the_same_run(
    config: Config, tmp_path: Path
) -> None:
    whole = train(config, tmp_path / "whole", root=Path(), measured=False)
    run = tmp_path / "stopped"
    asked = []

    def stop(folder: Path) -> bool:
        asked.append(len(tiny.epochs(folder)))
        return asked[-1] == 2

    train(config, run, root=Path(), measured=False, stop=stop)
    assert asked == [1, 2]
    assert not (run / "result.json").exists()
    train(config, run, root=Path(), resume=True, measured=False)
    assert_same_run(run, whole)


@pytest.mark.slow
def test_a_run_that_was_not_tested_is_tested_by_resuming_it(config: Config, tmp_path: Path) -> None:
    whole = train(config, tmp_path / "whole", root=Path(), measured=False)
    run = train(config, tmp_path / "untested", root=Path(), measured=False, tested=False)
    assert not (run / "predictions.csv").exists()
    result = json.loads((run / "result.json").read_text())
    assert result["test"] == {}
    assert not result.keys() & {"confusion", "per_class_ap"}
    (run / "result.json").unlink()
    train(config, run, root=Path(), resume=True, measured=False)
    assert_same_run(run, whole)
