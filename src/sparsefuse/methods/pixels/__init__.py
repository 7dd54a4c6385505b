"""The fusion methods on pixels, one file each, found by file name: a file that defines `build` is a method."""

import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparsefuse.errors import unknown
from sparsefuse.options import check_kind, check_kinds

if TYPE_CHECKING:  # listing the methods must not load torch
    from sparsefuse.model.pixels import PixelModel


def methods() -> list[str]:
    """Names of the methods on pixels."""
    return list(_files())


@cache
def _files() -> tuple[str, ...]:
    """Read once: a model asks for them several times while it is built."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def fusions() -> list[str]:
    """Names of the fusion methods: all but `unimodal`."""
    return [name for name in methods() if name != "unimodal"]


def build(method: str, streams: Mapping[str, int], num_classes: int, **options: Any) -> "PixelModel":
    """Builds a model by name.

    `streams`: channels per stream of pictures. `num_classes`: classes of a pixel, or channels of the picture that is
    translated to. `options`: what the method's own `build` takes; all take `task` (segment or translate), `size` (b0,
    b2, tiny, ... or the fields of a `Size`), `drop_path`, and `modalities`, the streams that are read: others may be
    given, and are not. Raises ValueError for unknown names or options.
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
    read = _read(options.pop("modalities", None), streams)
    check_kinds(find(method).build, options, method)
    model: PixelModel = find(method).build(read, num_classes, **options)
    model.streams = {name: streams[name] for name in sorted(streams)}
    return model


def _read(names: Sequence[str] | None, streams: Mapping[str, int]) -> dict[str, int]:
    """The channels of these streams, or of all, by name. Raises ValueError for unknown ones, or none."""
    check_kind(Sequence[str] | None, names, "modalities")
    if names is not None and not names:
        raise ValueError(f"modalities is {names!r}; expected a list of one or more of {', '.join(streams)}")
    for name in names or ():
        if name not in streams:
            raise ValueError(f"modalities: {unknown('stream', name, streams)}")
    return {name: streams[name] for name in sorted(streams) if names is None or name in names}


def option_names(method: str) -> list[str]:
    """Options that the method's `build` takes besides streams and num_classes, and those of all methods."""
    own = [name for name in inspect.signature(find(method).build).parameters if name not in ("streams", "num_classes")]
    return [*own, "modalities"]


def find(method: str) -> ModuleType:
    """The module of a method."""
    if method not in methods():
        raise ValueError(unknown("method on pixels", method, methods()))
    return import_module(f"{__name__}.{method}")
