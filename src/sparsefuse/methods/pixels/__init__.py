"""The fusion methods on pixels, one file each, found by file name: a file that defines `build` is a method."""

import inspect
import pkgutil
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparsefuse.errors import unknown

if TYPE_CHECKING:  # listing the methods must not load torch
    from sparsefuse.pixel_model import PixelModel


def methods() -> list[str]:
    """Names of the methods on pixels."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def fusions() -> list[str]:
    """Names of the fusion methods: all but `unimodal`."""
    return [name for name in methods() if name != "unimodal"]


def build(method: str, streams: Mapping[str, int], num_classes: int, **options: Any) -> "PixelModel":
    """Builds a model by name.

    `streams`: channels per stream of pictures. `num_classes`: classes of a pixel, or channels of the picture that is
    translated to. `options`: what the method's own `build` takes; all take `task` (segment or translate), `size` (b0,
    b2, tiny, ... or the fields of a `Size`) and `drop_path`. Raises ValueError for unknown names or options.
    """
    if not streams:
        raise ValueError("streams must name at least one, as in {'color': 3}; got none")
    for name, channels in streams.items():
        if "@" in name or name == "fused":
            raise ValueError(f"stream {name!r} has the name of a stream inside the model; rename it")
        if channels < 1:
            raise ValueError(f"stream {name!r} must have 1 channel or more; got {channels}")
    if num_classes < 1:
        raise ValueError(f"num_classes must be 1 or more; got {num_classes}")
    known = option_names(method)
    for name in options:
        if name not in known:
            raise ValueError(unknown(f"option of {method}", name, known))
    return find(method).build({name: streams[name] for name in sorted(streams)}, num_classes, **options)


def option_names(method: str) -> list[str]:
    """Options that the method's `build` takes besides streams and num_classes."""
    return [name for name in inspect.signature(find(method).build).parameters if name not in ("streams", "num_classes")]


def find(method: str) -> ModuleType:
    """The module of a method."""
    if method not in methods():
        raise ValueError(unknown("method on pixels", method, methods()))
    return import_module(f"{__name__}.{method}")
