"""The methods of detection in space, one file each, found by file name: a file that defines `build` is a method."""

import inspect
import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparsefuse.errors import unknown
from sparsefuse.options import check_kinds

if TYPE_CHECKING:  # listing the methods must not load torch
    from sparsefuse.model.points import DetectionModel


def methods() -> list[str]:
    """Names of the methods of detection."""
    return list(_files())


@cache
def _files() -> tuple[str, ...]:
    """Read once: a model asks for them several times while it is built."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def fusions() -> list[str]:
    """Names of those that read pictures too: all but `points`."""
    return [name for name in methods() if name != "points"]


def build(method: str, num_channels: int, num_classes: int, **options: Any) -> "DetectionModel":
    """Builds a detector by name.

    `num_channels`: of a point besides its place. `options`: what the method's own `build` takes; all take `size` (ti,
    s, small, tiny, or the fields of a `Size`), `layers`, `proposals` and `sizes`, those that read pictures `frames`.
    Raises ValueError for unknown names or options.
    """
    if num_channels < 0 or num_classes < 1:
        raise ValueError(f"num_channels must be 0 or more, num_classes 1 or more; got {num_channels} and {num_classes}")
    known = option_names(method)
    for name in options:
        if name not in known:
            raise ValueError(unknown(f"option of {method}", name, known))
    check_kinds(find(method).build, options, method)
    return find(method).build(num_channels, num_classes, **options)


def option_names(method: str) -> list[str]:
    """Options that the method's `build` takes besides the numbers of channels and classes."""
    names = inspect.signature(find(method).build).parameters
    return [name for name in names if name not in ("num_channels", "num_classes")]


def find(method: str) -> ModuleType:
    """The module of a method."""
    if method not in methods():
        raise ValueError(unknown("method of detection", method, methods()))
    return import_module(f"{__name__}.{method}")
