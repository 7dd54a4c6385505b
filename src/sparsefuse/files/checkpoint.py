"""Checkpoints: tensors and plain facts in one safetensors file, written atomically. Nothing is pickled."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsefuse.files.typed import parse
from sparsefuse.files.whole import replacing
from sparsefuse.shown import said


class Checkpoint(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save(path: Path, tensors: dict[str, Tensor], facts: Mapping[str, object]) -> None:
    """Writes tensors by name and JSON-able facts. Raises OSError if the file cannot be written, ValueError, naming it,
    for a tensor with NaN or infinite values."""
    saved = {name: _finite(path, name, t.detach().cpu().contiguous()) for name, t in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(saved, temporary, metadata={"facts": json.dumps(facts)})
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written ({error}); is the disk full?") from error


def load(path: Path) -> Checkpoint:
    """Reads what `save` wrote. Raises FileNotFoundError, or ValueError for any other file and, naming it, for a tensor
    with NaN or infinite values."""
    with _opened(path) as file:
        facts = parse((file.metadata() or {}).get("facts", "{}"), f"{path}, its facts")
        tensors = {name: _finite(path, name, file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    return Checkpoint(tensors, facts if isinstance(facts, dict) else {})


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a file, by its header alone. Raises the errors of `load`."""
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}; expected a file that `sparsefuse train` wrote")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete safetensors file ({said(error)}); use another checkpoint"
        ) from error


def _finite(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor, unless it has values that are not finite in float32, as those of a training that diverged."""
    if not tensor.float().isfinite().all():
        raise ValueError(f"{path.name}: {name[:200]} has NaN or infinite values; was the learning rate too high?")
    return tensor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as flat names: `optimizer/<parameter>/<what>`."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer/{i}/{key}": t for i, entry in state.items() for key, t in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], lr: float) -> None:
    """Restores the state from `optimizer_tensors`, and the learning rate. Raises ValueError if it is of another."""
    current = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            index, _, key = name.removeprefix("optimizer/").partition("/")
            fits = index.isdecimal() and int(index) < len(parameters) and tensor.is_floating_point()
            if not fits or tensor.shape not in ((), parameters[int(index)].shape):
                raise ValueError(f"the checkpoint does not fit the optimizer: {name[:60]} is not of it")
            state.setdefault(int(index), {})[key] = tensor
    if len({tuple(sorted(entry)) for entry in state.values()}) > 1:
        raise ValueError("the checkpoint does not fit the optimizer: some of its tensors are missing")
    for group in current["param_groups"]:
        group["lr"] = lr
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def model_tensors(model: nn.Module, prefix: str = "model/") -> dict[str, Tensor]:
    """The model's weights as `model/<name>`."""
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def restore_model(model: nn.Module, tensors: dict[str, Tensor], prefix: str = "model/") -> None:
    """Restores the weights from `model_tensors`. Raises ValueError, naming the first, if names or shapes differ."""
    stored = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    shapes, expected = ({n: tuple(t.shape) for n, t in weights.items()} for weights in (stored, model.state_dict()))
    differing = [name for name in expected | shapes if shapes.get(name) != expected.get(name)]
    if differing:
        name = differing[0]
        raise ValueError(
            f"the checkpoint does not fit the model: {len(differing)} weights differ, the first is {name} (shape "
            f"{shapes.get(name, 'none')}, expected {expected.get(name, 'none')}); it was trained with "
            "other options, so train again"
        )
    model.load_state_dict(stored)
