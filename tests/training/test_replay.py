"""A run keeps a few training clips as they are inside the model, balanced over classes and within a size."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.cli.app import main
from sparsefuse.files import checkpoint
from sparsefuse.inference.evaluate import Opened, open_run
from sparsefuse.inference.predictor import Clip
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training import replay, states
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    config = tiny.config(tiny.write_set(folder / "data", (12, 3, 3)), epochs=1)
    return train(config, folder / "run", root=Path(), measured=False)


@pytest.fixture(scope="module")
def opened(run: Path) -> Opened:
    return open_run(run, split="train")


def test_training_keeps_clips_of_every_class_evenly(run: Path, opened: Opened) -> None:
    """Four of each class are there, and four are kept by default."""
    found = replay.load(RunFolder(run), opened.predictor.model)
    assert found is not None
    assert Counter(found.labels.tolist()) == {0: 4, 1: 4, 2: 4}


SPOILT = {
    "a label beyond the classes": {"labels": torch.full((12,), 3)},
    "labels of another task": {"labels": torch.zeros(12, 3)},
    "labels of other clips": {"labels": torch.zeros(7, dtype=torch.long)},
    "no labels": {"labels": None},
    "a mask of another length": {"mask/rgb": torch.ones(12, 1, dtype=torch.bool)},
    "a mask of numbers": {"mask/rgb": torch.ones(12, 3)},
    "a mask that is not there": {"mask/sound": None},
    "another width": {"x/rgb": torch.zeros(12, 3, 7)},
    "fewer clips": {"x/rgb": torch.zeros(5, 3, 10), "mask/rgb": torch.ones(5, 3, dtype=torch.bool)},
}


@pytest.mark.parametrize("change", SPOILT.values(), ids=SPOILT)
def test_what_is_no_clip_of_the_run_is_refused(run: Path, opened: Opened, tmp_path: Path, change: dict) -> None:
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    saved = checkpoint.load(copy.replay)
    tensors = {name: tensor for name, tensor in {**saved.tensors, **change}.items() if tensor is not None}
    checkpoint.save(copy.replay, tensors, saved.facts)
    with pytest.raises(ValueError, match=r"replay\.safetensors does not hold clips of .*run; remove it"):
        replay.load(copy, opened.predictor.model)


def test_kept_clips_go_on_to_the_logits_of_their_files(run: Path, opened: Opened, tmp_path: Path) -> None:
    """All clips are kept here; the numbers are halved, so three digits are left."""
    model = opened.predictor.model
    shutil.copy(run / "model.json", tmp_path)
    assert replay.keep(RunFolder(tmp_path), model, opened.data, 99) == 12
    found = replay.load(RunFolder(tmp_path), model)
    assert found is not None
    with torch.no_grad():
        said = model.head(model.through(found.state, found.depth))
        tokens = [opened.predictor.tokens(_raw(opened, i))[0] for i in range(12)]
        direct = torch.cat([model(t).logits for t in tokens])
    by_first = sorted(said.tolist()), sorted(direct.tolist())
    torch.testing.assert_close(torch.tensor(by_first[0]), torch.tensor(by_first[1]), rtol=1e-2, atol=1e-2)


def _raw(opened: Opened, i: int) -> Clip:
    return {name: opened.data.root / file for name, file in opened.data.rows[i].files.items()}


@pytest.mark.parametrize(("per_class", "kept"), [(1, 3), (3, 9)])
def test_fewer_per_class_are_kept_if_asked_for(opened: Opened, tmp_path: Path, per_class: int, kept: int) -> None:
    assert replay.keep(RunFolder(tmp_path), opened.predictor.model, opened.data, per_class) == kept


def test_what_does_not_fit_is_left_out_class_by_class(
    run: Path, opened: Opened, tmp_path: Path, monkeypatch, caplog
) -> None:
    shutil.copy(run / "model.json", tmp_path)
    replay.keep(RunFolder(tmp_path), opened.predictor.model, opened.data, 4)
    found = replay.load(RunFolder(tmp_path), opened.predictor.model)
    assert found is not None
    each = sum(t.x.nbytes // 2 + t.mask.nbytes for t in found.state.streams.values()) // 12
    monkeypatch.setattr(replay, "LIMIT", 5 * each + each // 2)
    caplog.set_level("INFO")
    assert replay.keep(RunFolder(tmp_path), opened.predictor.model, opened.data, 4) == 5
    found = replay.load(RunFolder(tmp_path), opened.predictor.model)
    assert found is not None
    assert sorted(Counter(found.labels.tolist()).values()) == [1, 2, 2]
    assert "5 of 12 clips are kept" in caplog.text


def test_clips_of_other_weights_are_refused(run: Path, opened: Opened, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "run")
    found = checkpoint.load(other / "model.safetensors")
    name = "model/embed.project.0.bias"
    checkpoint.save(other / "model.safetensors", {**found.tensors, name: found.tensors[name] + 1}, found.facts)
    with pytest.raises(ValueError, match=r"computed with other weights .*sparsefuse remember"):
        replay.load(RunFolder(other), open_run(other, split="train").predictor.model)


def test_remember_gives_an_old_run_what_training_would_have(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    old = shutil.copytree(run, tmp_path / "run")
    RunFolder(old).replay.unlink()
    monkeypatch.setattr("sys.argv", ["sparsefuse", "remember", str(old)])
    main()
    assert RunFolder(old).replay.read_bytes() == RunFolder(run).replay.read_bytes()
    assert "12 clips" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multilabel", "heads", "regression"])
def test_other_tasks_keep_clips_too(tmp_path: Path, task: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task=task), epochs=1)
    config = tiny.with_data(config, label="verb+noun") if task == "heads" else config
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    opened = open_run(run, split="train")
    found = replay.load(RunFolder(run), opened.predictor.model)
    assert found is not None
    assert states.size(found.state) == len(found.labels) >= 3
    kept = {json.dumps(label) for label in found.labels.tolist()}
    assert kept <= {json.dumps(opened.data.labels.encode(row.label).tolist()) for row in opened.data.rows}


def test_a_run_of_a_trial_keeps_none(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    run = train(config, tmp_path / "run", root=Path(), measured=False, tested=False)
    assert not RunFolder(run).replay.exists()


def test_a_run_with_a_stem_keeps_clips_too(tmp_path: Path) -> None:
    manifest = tiny.write_set(tmp_path / "data")
    stem = {"stem": {"rgb": {"kind": "conv", "filters": 4}}}
    run = train(tiny.config(manifest, options=stem, epochs=1), tmp_path / "run", root=Path(), measured=False)
    assert replay.load(RunFolder(run), open_run(run, split="train").predictor.model) is not None
