"""Which backend computes an operation: one switch, one choice."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from torch import Tensor

from sparsefuse.errors import unknown
from sparsefuse.layers.ops import native
from sparsefuse.layers.ops import torch as definition
from sparsefuse.layers.ops.tracing import watched

VARIABLE = "SPARSEFUSE_BACKEND"
NAMES = ("auto", "torch", "native")
_chosen: ContextVar[str | None] = ContextVar("backend", default=None)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Within it operations are computed by this backend; it overrides the variable `SPARSEFUSE_BACKEND`.

    `torch` is the definition, by PyTorch's operations. `native` is C++ for processors where it supports a call, else
    the definition; RuntimeError if it is not available. `auto`: the fastest that is available. Raises ValueError for
    another name.
    """
    before = _chosen.set(_checked("backend", name))
    try:
        yield
    finally:
        _chosen.reset(before)


def requested() -> str:
    """The backend that the context, or else the environment, sets."""
    return _chosen.get() or _checked(VARIABLE, os.environ.get(VARIABLE, "auto"))


def has_alternative(x: Tensor) -> bool:
    """Whether another backend than the definition may compute a call with `x`.

    Not where PyTorch's own operations are intercepted (see `tracing.watched`). Raises RuntimeError; see `backend`.
    """
    if watched(x) or x.device.type != "cpu" or (name := requested()) == "torch":
        return False
    reason = native.unavailable()
    if reason and name == "native":
        raise RuntimeError(f"the backend native is not available: {reason}")
    return not reason


def choose(operation: str, x: Tensor, *call: Any, **options: Any) -> ModuleType:
    """The module that computes an operation of `ops` for this call: the definition, where no other supports it."""
    return (has_alternative(x) and alternative(operation, x, *call, **options)) or definition


def alternative(operation: str, x: Tensor, *call: Any, **options: Any) -> ModuleType | None:
    """The module that computes this call where `has_alternative(x)`; None if none supports it."""
    return native if native.SUPPORTS[operation](x, *call, **options) else None


def status() -> dict[str, str]:
    """Whether each backend is used here, or why not."""
    reason = native.unavailable()
    if reason or requested() == "torch":
        return {"torch": "used", "native": f"not used: {reason or 'torch is set'}"}
    return {"torch": "used for calls that no other backend supports", "native": f"used: {native.description()}"}


def _checked(what: str, name: str) -> str:
    if name not in NAMES:
        raise ValueError(unknown(what, name, NAMES))
    return name
