"""What is saved comes back exactly, and nothing else is taken for a checkpoint."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from sparsefuse.files import checkpoint


def test_tensors_and_facts_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 4).T,  # not contiguous
        "b": torch.tensor(3e38),
        "c": torch.tensor([1, 2], dtype=torch.int64),
        "d": torch.ones(2, dtype=torch.bfloat16),
    }
    facts = {"epoch": 3, "best": float("inf"), "nested": {"list": [1, 2.5, None, "ü"]}}
    checkpoint.save(tmp_path / "deep" / "x.safetensors", tensors, facts)
    found = checkpoint.load(tmp_path / "deep" / "x.safetensors")
    assert found.facts == facts
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_values_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path, value: float) -> None:
    """1e300 is finite in a file of float64, and infinite in a model of float32."""
    tensors = {"good": torch.ones(2), "model/bad": torch.tensor([1.0, value], dtype=torch.float64)}
    path = tmp_path / "x.safetensors"
    with pytest.raises(ValueError, match=r"^x\.safetensors: model/bad has NaN or infinite values"):
        checkpoint.save(path, tensors, {})
    assert not list(tmp_path.iterdir())
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"^x\.safetensors: model/bad has NaN or infinite values"):
        checkpoint.load(path)


def test_a_restored_optimizer_makes_the_same_steps(tmp_path: Path) -> None:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        model(torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
        optimizer.step()

    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    step(model, optimizer, 0)
    tensors = {**checkpoint.model_tensors(model), **checkpoint.optimizer_tensors(optimizer)}
    checkpoint.save(tmp_path / "x.safetensors", tensors, {})
    other = nn.Linear(3, 2)
    restored = torch.optim.AdamW(other.parameters(), lr=7.0, weight_decay=0.1)
    found = checkpoint.load(tmp_path / "x.safetensors").tensors
    checkpoint.restore_model(other, found)
    checkpoint.restore_optimizer(restored, found, 0.1)
    for seed in (1, 2):
        step(model, optimizer, seed)
        step(other, restored, seed)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)


def test_saving_does_not_change_the_model() -> None:
    model = nn.Linear(3, 2)
    before = copy.deepcopy(model.state_dict())
    checkpoint.model_tensors(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_is_an_error_of_the_system_and_leaves_the_old_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    path = tmp_path / "x.safetensors"
    if before:
        checkpoint.save(path, {"a": torch.ones(2)}, {})

    def full(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"x\.safetensors cannot be written \(.*No space left.*\); is the disk full\?"):
        checkpoint.save(path, {"a": torch.zeros(2)}, {})
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"] * before
    if before:
        assert checkpoint.load(path).tensors["a"].tolist() == [1, 1]


def test_no_checkpoint_is_an_error_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nothing\.safetensors"):
        checkpoint.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", b"\x80\x04\x95."])
def test_a_file_that_is_none_of_ours_is_an_error_and_never_unpickled(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        checkpoint.load(tmp_path / "x.safetensors")


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1 weights differ, the first is weight \(shape .*\); .* train again"):
        checkpoint.restore_model(nn.Linear(3, 2), checkpoint.model_tensors(nn.Linear(4, 2)))
