"""Describes all of a model that decides what it costs, so that one like it need not be counted again."""

from collections.abc import Hashable, Mapping
from typing import Any

from torch import nn

_HELD = frozenset(nn.Module().__dict__)
"""what every module has besides its options"""


class _UnknownError(Exception):
    """Of something it cannot be told whether it is as it was."""


def structure(model: nn.Module) -> Hashable:
    """Equal for models whose modules, options, shapes and shared weights are equal; None if one has hooks, or an option
    that is neither text nor a number nor a collection of these."""
    places: dict[int, int] = {}
    try:
        named = model.named_modules(remove_duplicate=False)
        return tuple(_described(name, module, places) for name, module in named)
    except _UnknownError:
        return None


def _described(name: str, module: nn.Module, places: dict[int, int]) -> Hashable:
    if module._forward_hooks or module._forward_pre_hooks:
        raise _UnknownError
    held = [*module._parameters.items(), *module._buffers.items()]
    tensors = [(own, x is not None and (x.shape, x.dtype, places.setdefault(id(x), len(places)))) for own, x in held]
    options = [(own, _plain(value)) for own, value in module.__dict__.items() if own not in _HELD]
    return name, type(module), type(module).forward, tuple(tensors), tuple(options), getattr(module, "comparisons", 0)


def _plain(value: Any) -> Hashable:
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value  # 1 and True are not alike
    if isinstance(value, Mapping):
        return type(value), tuple((key, _plain(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_plain, value))
    raise _UnknownError
