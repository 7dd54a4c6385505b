"""What a step gets, its batch and its mixup, drawn on the CPU and copied to the device while the one before it runs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.mixup import Mix
from sparsefuse.tokens import Batch, Tokens
from sparsefuse.training.device_features import DeviceFeatures


class Drawn(NamedTuple):
    """A step's batch, augmented; its mixup, if any; and the seed of what the step itself draws (dropout)."""

    batch: Batch
    mix: Mix | None
    seed: int


def on_device(steps: Iterable[Drawn], device: torch.device, features: DeviceFeatures | None = None) -> Iterator[Drawn]:
    """The same with their tensors on `device`; on CUDA by a stream of its own, so that no step waits for a copy.

    With `features`, their batches are places in these.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    for step in steps:
        with torch.cuda.stream(stream):  # None changes nothing
            moved = _moved(step, device)
        if stream:
            torch.cuda.current_stream(device).wait_stream(stream)
        yield moved._replace(batch=features.gathered(moved.batch)) if features else moved


def _moved(step: Drawn, device: torch.device) -> Drawn:
    if device.type == "cpu":
        return step
    copies: dict[Tensor, Tensor] = {}  # streams may share a tensor

    def move(x: Tensor) -> Tensor:
        if x not in copies:
            copies[x] = (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)
            if device.type == "cuda":
                copies[x].record_stream(torch.cuda.default_stream(device))
        return copies[x]

    batch, mix, seed = step
    tokens = {name: Tokens(move(t.x), move(t.mask)) for name, t in batch.tokens.items()}
    batch = batch._replace(tokens=tokens, labels=move(batch.labels))
    if mix is not None:
        lam, shares = ({name: move(t) for name, t in each.items()} for each in (mix.lam, mix.shares))
        mix = mix._replace(partner=move(mix.partner), lam=lam, label=move(mix.label), shares=shares)
    return Drawn(batch, mix, seed)
