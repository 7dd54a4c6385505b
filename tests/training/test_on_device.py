"""Steps reach a device with all their tensors, and losses are read as seldom as a device asks for."""

from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.files import checkpoint
from sparsefuse.mixup import Mix
from sparsefuse.tokens import Batch, Tokens
from sparsefuse.training.loss import Loss
from sparsefuse.training.on_device import Drawn, on_device

training = import_module("sparsefuse.training.train")
SHARE = torch.tensor([0.2, 1.0])
STEP = Drawn(
    Batch({"a": Tokens(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool))}, torch.tensor([0, 1]), ["x", "y"]),
    Mix(1, torch.tensor([1, 0]), {"a": SHARE}, SHARE, {"a": SHARE}),
    7,
)


def tensors(step):
    (tokens, mask), mix = step.batch.tokens["a"], step.mix
    return [tokens, mask, step.batch.labels, mix.partner, mix.lam["a"], mix.label, mix.shares["a"]]


def test_on_the_cpu_nothing_is_copied():
    (step,) = on_device([STEP], torch.device("cpu"))
    assert step is STEP


@pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_tensor_is_moved_and_shared_ones_once(device):
    (step,) = on_device([STEP], torch.device(device))
    assert {t.device.type for t in tensors(step)} == {device}
    assert step.mix.lam["a"] is step.mix.label is step.mix.shares["a"]
    assert step.batch.ids == ["x", "y"]
    assert (step.mix.depth, step.seed) == (1, 7)
    for mine, given in zip(tensors(step), tensors(STEP), strict=True):
        assert mine.shape == given.shape
        assert device == "meta" or mine.cpu().equal(given)


@pytest.mark.slow
def test_reading_losses_seldom_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.config(tiny.write_set(tmp_path / "data"), batch_size=2)
    runs = []
    for every in (1, 2, 50):
        monkeypatch.setattr(training, "READ_EVERY", defaultdict(lambda every=every: every))
        run = training.train(config, tmp_path / f"every{every}", root=Path(), measured=False)
        weights = checkpoint.load(run / "last.safetensors").tensors
        runs.append(([line["train_loss"] for line in tiny.epochs(run)], weights))
    for losses, weights in runs[1:]:
        assert losses == runs[0][0]
        assert all(weights[name].equal(tensor) for name, tensor in runs[0][1].items())


def test_a_loss_that_is_not_finite_is_read_before_anything_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "READ_EVERY", defaultdict(lambda: 50))
    losses, steps = Loss._losses, []

    def spoilt(self, *args):
        steps.append(1)
        return losses(self, *args) * (float("nan") if len(steps) == 3 else 1)

    monkeypatch.setattr(Loss, "_losses", spoilt)
    config = tiny.config(tiny.write_set(tmp_path / "data"), batch_size=2, save_minutes=0.0)
    with pytest.raises(ValueError, match="the loss is nan"):
        training.train(config, tmp_path / "run", root=Path(), measured=False)
    kept = tmp_path / "run/last.safetensors"
    assert not kept.exists() or all(t.isfinite().all() for t in checkpoint.load(kept).tensors.values())
