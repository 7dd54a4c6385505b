"""Rare classes count more, or are drawn more often; a resumed run is the same."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

import tiny
from sparsefuse.data.labels import Labels
from sparsefuse.files import checkpoint
from sparsefuse.inference.predictor import load
from sparsefuse.mixup import Mix
from sparsefuse.tokens import HeadOutputs
from sparsefuse.training.balance import class_weights, sample_chances
from sparsefuse.training.loss import Loss
from sparsefuse.training.train import _Run, train


def balanced(labels: list) -> list[float]:
    return compute_class_weight("balanced", classes=np.unique(labels), y=labels).tolist()


def test_weights_are_scikit_learns() -> None:
    texts = ["b", "a", "a", "c", "a", "b"]
    assert class_weights(Labels("class", ("a", "b", "c")), texts).tolist() == pytest.approx(balanced(texts))
    heads = Labels("heads", ("v:put", "v:take", "n:cup", "n:pan"), {"v": 2, "n": 2})
    pairs = ["put+cup", "put+pan", "put+pan", "take+pan"]
    each = [balanced([pair.split("+")[i] for pair in pairs]) for i in (0, 1)]
    assert class_weights(heads, pairs).tolist() == pytest.approx([*each[0], *each[1]])
    several = Labels("multilabel", ("a", "b"))
    columns = [balanced([0, 1, 1, 1, 0]), balanced([0, 1, 0, 0, 0])]
    found = class_weights(several, ["", "a|b", "a", "a", ""])
    assert found.T.tolist() == [pytest.approx(column) for column in columns]


def test_a_class_of_a_list_that_no_clip_has_changes_no_weight() -> None:
    texts = ["a", "a", "b"]
    assert class_weights(Labels("class", ("a", "b", "z")), texts).tolist() == pytest.approx([*balanced(texts), 1.0])
    assert class_weights(Labels("multilabel", ("a", "z")), ["a", ""])[:, 1].tolist() == [1.0, 1.0]


def test_every_class_is_as_likely_to_be_drawn() -> None:
    chances = sample_chances(Labels("class", ("a", "b")), ["a", "a", "a", "b"])
    assert chances.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    heads = Labels("heads", ("v:put", "v:take", "n:cup", "n:pan"), {"v": 2, "n": 2})
    chances = sample_chances(heads, ["put+cup", "put+pan", "put+pan", "take+pan"])
    assert chances.tolist() == pytest.approx([(1 / 6 + 1 / 2) / 2, 1 / 6, 1 / 6, (1 / 2 + 1 / 6) / 2])
    several = sample_chances(Labels("multilabel", ("a", "b")), ["a", "a|b", "", ""])
    raw = [1 / 2, (1 / 2 + 1) / 2, 1 / 2, 1 / 2]  # 1 / n_c; no label at all is a class of two clips
    assert several.tolist() == pytest.approx([value / sum(raw) for value in raw])


def test_mixed_labels_have_the_weights_of_both() -> None:
    """Logits 0: each cross entropy is log 2."""
    loss = Loss(Labels("class", ("a", "b")), label_smoothing=0.0, weights=torch.tensor([3.0, 5.0]))
    mix = Mix(0, torch.tensor([1, 0]), {}, torch.tensor([0.25, 0.75]))
    found = loss(HeadOutputs(torch.zeros(2, 1, 2), torch.ones(2, 1)), torch.tensor([0, 1]), mix)
    assert found.tolist() == pytest.approx([c * math.log(2) for c in (0.25 * 3 + 0.75 * 5, 0.75 * 5 + 0.25 * 3)])


@pytest.fixture
def rare(tmp_path: Path) -> Path:
    """Twelve training clips: ten of a, one of b and c each."""
    manifest = tiny.write_set(tmp_path / "data", (12, 4, 0))
    tiny.edit(manifest, **{f"train{i}": {"label": "abc"[i - 9] if i > 9 else "a"} for i in range(12)})
    return manifest


def test_the_training_loss_is_weighted(rare: Path, tmp_path: Path) -> None:
    """At rate 0 the loss of an epoch is the mean of n / (k n_c) times the loss of each clip."""
    config = tiny.config(rare, epochs=1, lr=0.0, balance="weights")
    run = train(config, tmp_path / "run", root=Path(), measured=False)
    predictor = load(run)
    predictor.calibration = None
    total = 0.0
    for i in range(12):
        files = {name: rare.parent / f"features/train{i}-{name}.npy" for name in tiny.FEATURES}
        found = predictor.predict_one({name: file for name, file in files.items() if file.exists()})
        label = "abc"[i - 9] if i > 9 else "a"
        total += {"a": 0.4, "b": 4.0, "c": 4.0}[label] * -math.log(found.probabilities[label])
    assert tiny.epochs(run)[0]["train_loss"] == pytest.approx(total / 12, abs=1e-5)


@pytest.mark.slow
def test_an_epoch_draws_every_class_alike(rare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, drawn = _Run._step, Counter()

    def noted(self: _Run, at, batch, **kwargs) -> torch.Tensor:
        drawn.update(batch.batch.ids)
        return step(self, at, batch, **kwargs)

    monkeypatch.setattr(_Run, "_step", noted)
    config = tiny.config(rare, epochs=20, batch_size=12, balance="sampler")
    train(config, tmp_path / "run", root=Path(), measured=False)
    assert drawn.total() == 240
    assert all(50 < drawn[name] < 110 for name in ("train10", "train11"))  # 80, standard deviation 7


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_a_stopped_run_resumes_to_the_same_weights(rare: Path, tmp_path: Path, balance: str) -> None:
    config = tiny.config(rare, epochs=2, mixup_alpha=0.3, mixup_warmup=0, balance=balance)
    runs = [tmp_path / name for name in ("whole", "stopped", "plain")]
    train(config, runs[0], root=Path(), measured=False)
    train(config, runs[1], root=Path(), measured=False, stop=lambda _: True)
    train(config, runs[1], root=Path(), measured=False, resume=True)
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, balance="none"))
    train(plain, runs[2], root=Path(), measured=False)
    whole, stopped, other = (checkpoint.load(run / "last.safetensors").tensors for run in runs)
    assert all(stopped[name].equal(tensor) for name, tensor in whole.items())
    assert not all(other[name].equal(tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("task", ["multilabel", "heads"])
@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_other_tasks_are_balanced(tmp_path: Path, task: str, balance: str) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task=task), epochs=1, balance=balance)
    config = tiny.with_data(config, label="verb+noun") if task == "heads" else config
    assert (train(config, tmp_path / "run", root=Path(), measured=False) / "result.json").exists()


def test_regression_is_refused(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data", task="regression"), balance="weights")
    with pytest.raises(ValueError, match=r"train\.balance is weights, but the labels are numbers"):
        train(config, tmp_path / "run", root=Path(), measured=False)
    assert not (tmp_path / "run/config.json").exists()
