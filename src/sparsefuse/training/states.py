"""States of many clips between two layers: indexed and concatenated."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens


def fusion_depth(model: FusionModel) -> int:
    """The depth at which streams begin to meet: before the first layer that is not `PerStream`.

    A method whose streams meet in the head only (`late`) is cut in half instead.
    """
    from sparsefuse.layers.streams import PerStream

    meet = (depth for depth, layer in enumerate(model.layers) if not isinstance(layer, PerStream))
    return next(meet, len(model.layers) // 2)


def size(state: State) -> int:
    """How many clips a state holds."""
    return len(next(iter(state.streams.values())).x)


def take(state: State, chosen: Tensor) -> State:
    """The clips with the given numbers (n,)."""
    return state._replace(streams={name: Tokens(x[chosen], mask[chosen]) for name, (x, mask) in state.streams.items()})


def join(states: Sequence[State]) -> State:
    """The clips of all, one after another, padded to the longest; the penalty is the sum of theirs."""
    streams = {name: _stacked([state.streams[name] for state in states]) for name in states[0].streams}
    return State(streams, torch.stack([state.penalty for state in states]).sum())


def _stacked(parts: Sequence[Tokens]) -> Tokens:
    longest = max(part.mask.shape[1] for part in parts)
    return Tokens(
        torch.cat([torch.nn.functional.pad(x, (0, 0, 0, longest - x.shape[1])) for x, _ in parts]),
        torch.cat([torch.nn.functional.pad(mask, (0, longest - mask.shape[1])) for _, mask in parts]),
    )


def to(state: State, device: torch.device) -> State:
    """The same clips on a device."""
    streams = {name: Tokens(x.to(device), mask.to(device)) for name, (x, mask) in state.streams.items()}
    return State(streams, state.penalty.to(device))


def to_tensors(state: State) -> dict[str, Tensor]:
    """As one flat dict for safetensors, in half precision: `x/<stream>` and `mask/<stream>`."""
    streams = state.streams.items()
    return {f"x/{name}": t.x.half() for name, t in streams} | {f"mask/{name}": t.mask for name, t in streams}


def from_tensors(tensors: Mapping[str, Tensor]) -> State:
    """The inverse of `to_tensors`; other keys are left alone. Values are float32."""
    names = [key.removeprefix("x/") for key in tensors if key.startswith("x/")]
    return State(
        {name: Tokens(tensors[f"x/{name}"].float(), tensors[f"mask/{name}"]) for name in names}, torch.zeros(())
    )
