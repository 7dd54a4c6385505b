"""A model that many tests look at is built once, and again where one of them has changed it."""

import itertools
from collections.abc import Callable, Hashable
from typing import Any

import torch

_KEPT: dict[Hashable, tuple[Any, list[Any], torch.Tensor]] = {}


def kept(key: Hashable, build: Callable[[], Any]) -> Any:
    """The model of `build`, in evaluation mode and without gradients, or the one it made for this `key` before; and
    random numbers go on as after `build`."""
    if key not in _KEPT or _KEPT[key][1] != _state(_KEPT[key][0]):
        model = build()
        _KEPT[key] = model, _state(model), torch.get_rng_state()
    model, _, random = _KEPT[key]
    torch.set_rng_state(random)
    model.zero_grad()
    return model.eval()


def _state(model: torch.nn.Module) -> list[Any]:
    """Another one after any change of a tensor, but in place behind `.data`, and after layers are compiled."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    state: list[Any] = [(id(x), x.data_ptr(), x._version, x.dtype, x.requires_grad) for x in tensors]
    return state + [module._compiled_call_impl is None for module in model.modules()]
