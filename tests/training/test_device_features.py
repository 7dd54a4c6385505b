"""Features that stay on the device give the batches that copying them would; here the CPU stands in for a GPU."""

import dataclasses
from importlib import import_module
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.data.batches import LengthBuckets, collate
from sparsefuse.data.clips import load_clips
from sparsefuse.files import checkpoint
from sparsefuse.training.device_features import AUGMENTED, DeviceFeatures, check_cache, kept_features
from sparsefuse.training.on_device import Drawn, on_device

training = import_module("sparsefuse.training.train")
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "last.safetensors").tensors


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("rule", [{}, {"max_length": 3}])
def test_batches_are_the_same_bits(device: str, rule: dict, tmp_path: Path) -> None:
    """Clips of several lengths, one without a modality, and alone in a batch."""
    clips = load_clips(tiny.with_data(tiny.config(tiny.write_set(tmp_path)), **rule).data, Path())
    data = clips.splits["train"]
    batches = [*LengthBuckets(clips.sizes["train"], 4, seed=0, shuffle=True).epoch(0), [1], [2, 2]]
    expected = [collate([data[i] for i in batch], clips.features) for batch in batches]
    kept = DeviceFeatures(data, clips.features, clips.tokens, torch.device(device))
    drawn = (Drawn(kept.places(batch), None, 0) for batch in batches)
    for (batch, _, _), wanted in zip(on_device(drawn, torch.device(device), kept), expected, strict=True):
        assert batch.ids == wanted.ids
        assert batch.labels.cpu().equal(wanted.labels)
        assert list(batch.tokens) == list(wanted.tokens)
        for name, (x, mask) in batch.tokens.items():
            assert x.device.type == device
            assert x.cpu().equal(wanted.tokens[name].x)
            assert mask.cpu().equal(wanted.tokens[name].mask)


def test_features_are_in_memory_once(tmp_path: Path) -> None:
    clips = load_clips(tiny.config(tiny.write_set(tmp_path)).data, Path())
    DeviceFeatures(clips.splits["train"], clips.features, clips.tokens, CPU)
    clips.splits["train"][0]
    assert not clips.splits["train"]._cache


def test_training_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With mixup, whose draws need the masks on the CPU."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), mixup_alpha=0.3, mixup_warmup=0, batch_size=3)
    copied = training.train(config, tmp_path / "copied", root=Path(), measured=False)
    made = []

    def keep(config: object, clips: object, device: torch.device) -> DeviceFeatures:
        made.append(DeviceFeatures(clips.splits["train"], clips.features, clips.tokens, device))
        return made[-1]

    monkeypatch.setattr(training, "kept_features", keep)
    kept = training.train(config, tmp_path / "kept", root=Path(), measured=False)
    assert made
    mine, wanted = weights(kept), weights(copied)
    assert all(mine[name].equal(tensor) for name, tensor in wanted.items())


@pytest.mark.gpu
def test_on_a_gpu_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    data = tiny.write_set(tmp_path / "data")
    runs = []
    for cache in ("cpu", "gpu"):
        config = tiny.config(data, mixup_alpha=0.3, mixup_warmup=0, device="cuda", cache=cache)
        runs.append(weights(training.train(config, tmp_path / cache, root=Path(), measured=False)))
    assert all(runs[1][name].equal(tensor) for name, tensor in runs[0].items())


def test_without_a_gpu_there_is_no_cache_on_it(tmp_path: Path) -> None:
    config = tiny.config(tiny.write_set(tmp_path), cache="gpu")
    with pytest.raises(ValueError, match=r"train.cache is gpu, but training runs on cpu; set train.device=cuda"):
        training.train(config, tmp_path / "run", root=Path(), measured=False)
    assert not (tmp_path / "run").exists()
    auto = tiny.config(tmp_path / "manifest.csv")
    assert kept_features(auto, load_clips(auto.data, Path()), CPU) is None


CHANGES = dict.fromkeys(AUGMENTED, 0.1) | {"spec_augment": {"a": {}}, "pictures": {"a": {}}}


@pytest.mark.parametrize("field", AUGMENTED)
def test_features_that_change_at_random_do_not_stay_there(field: str, tmp_path: Path) -> None:
    config = tiny.with_data(tiny.config(tiny.write_set(tmp_path)), **{field: CHANGES[field]})
    clips = load_clips(tiny.config(tmp_path / "manifest.csv").data, Path())
    assert kept_features(config, clips, GPU) is None
    wanted = dataclasses.replace(config, train=dataclasses.replace(config.train, cache="gpu"))
    with pytest.raises(ValueError, match=f"data.{field} changes features on the CPU before each step"):
        check_cache(wanted, GPU)


@pytest.mark.parametrize(
    ("cache", "free", "kept"),
    [("auto", 10**6, True), ("auto", 2000, False), ("gpu", 2000, True), ("cpu", 10**6, False)],
)
def test_auto_fills_half_of_the_free_memory(
    cache: str, free: int, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.config(tiny.write_set(tmp_path), cache=cache)
    clips = load_clips(config.data, Path())
    needed = 4 * sum((clips.tokens[name] + 1) * width for name, width in clips.features.items())
    assert 1000 < needed < 2000
    made = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))
    monkeypatch.setattr("sparsefuse.training.device_features.DeviceFeatures", lambda *args: made.append(args) or args)
    assert (kept_features(config, clips, GPU) is not None) == kept
    assert len(made) == kept
    if cache == "gpu":
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**9))
        with pytest.raises(ValueError, match=r"train.cache is gpu, but the training features take .* set it to auto"):
            kept_features(config, clips, GPU)
