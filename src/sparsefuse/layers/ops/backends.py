"""Which backend computes an operation: one switch, one choice."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from torch import Tensor

from sparsefuse.errors import unknown
from sparsefuse.layers.ops import native, triton
from sparsefuse.layers.ops import torch as definition
from sparsefuse.layers.ops.tracing import autocast, intercepted

VARIABLE = "SPARSEFUSE_BACKEND"
BACKENDS: dict[str, Any] = {"native": native, "triton": triton}
NAMES = ("auto", "torch", *BACKENDS)
_chosen: ContextVar[str | None] = ContextVar("backend", default=None)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Within it operations are computed by this backend; it overrides the variable `SPARSEFUSE_BACKEND`.

    `torch` is the definition, by PyTorch's operations. `native` is C++ for processors, `triton` for GPUs, each where it
    supports a call, else the definition; RuntimeError if it is not available. `auto`: the fastest that is available.
    Raises ValueError for another name.
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

    Not where PyTorch's own operations are intercepted (see `tracing.intercepted`). Raises RuntimeError; see `backend`.
    """
    if intercepted(x) or (name := requested()) == "torch":
        return False
    if name != "auto" and (reason := BACKENDS[name].unavailable()):
        raise RuntimeError(f"the backend {name} is not available: {reason}")
    own = _own(x, name)
    if own is None or name not in ("auto", own) or (own == "native" and autocast(x)):
        return False
    return not BACKENDS[own].unavailable()


def choose(operation: str, x: Tensor, *call: Any, **options: Any) -> ModuleType:
    """The module that computes an operation of `ops` for this call: the definition, where no other supports it."""
    return (has_alternative(x) and alternative(operation, x, *call, **options)) or definition


def alternative(operation: str, x: Tensor, *call: Any, **options: Any) -> ModuleType | None:
    """The module that computes this call where `has_alternative(x)`; None if none supports it."""
    own = BACKENDS[_own(x, requested()) or "native"]
    supports = own.SUPPORTS.get(operation)
    return own if supports is not None and supports(x, *call, **options) else None


def _own(x: Tensor, name: str) -> str | None:
    """The backend for the device of `x`, if there is one; `triton` by its interpreter only where it is requested."""
    if x.device.type == "cpu":
        return "triton" if name == "triton" and triton.interpreted() else "native"
    return "triton" if x.device.type == "cuda" else None


def status() -> dict[str, str]:
    """Whether each backend is used here, or why not."""
    said = {"torch": "used"}
    for name, module in BACKENDS.items():
        reason = module.unavailable() or ("" if requested() in ("auto", name) else f"{requested()} is set")
        if not reason and name != requested() and module is triton and triton.interpreted():
            reason = "its interpreter computes only what asks for it by name"
        said[name] = f"not used: {reason}" if reason else f"used: {module.description()}"
        if not reason:
            said["torch"] = "used for calls that no other backend supports"
    return said


def _checked(what: str, name: str) -> str:
    if name not in NAMES:
        raise ValueError(unknown(what, name, NAMES))
    return name
