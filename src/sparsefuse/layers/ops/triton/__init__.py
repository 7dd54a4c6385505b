"""The operations in Triton, for GPUs; or, under TRITON_INTERPRET=1, slowly on the processor, to test them."""

import functools
import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch

MODULES = {
    "attention": "patterns",
    "blocks": "block",
    "embedding": "embed",
    "window_means": "pool",
    "window_index": "windows",
}
"""operation -> the file it is in"""
ABLE = (8, 0)
"""Compute capability from which on products of bfloat16 are in hardware."""


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def unavailable() -> str:
    """Why this backend cannot be used here; empty if it can."""
    found = find_spec("triton")
    if found is None or found.origin is None:  # a folder of this name is no package
        return "Triton is not installed; it comes with PyTorch for CUDA"
    if interpreted():
        return ""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if torch.cuda.get_device_capability() < ABLE:
        return f"{torch.cuda.get_device_name()} is older than Ampere"
    return ""


def description() -> str:
    """What it runs on, as a sentence."""
    from triton import __version__

    return f"Triton {__version__}, " + ("interpreted" if interpreted() else torch.cuda.get_device_name())


def __getattr__(name: str) -> Any:
    """The operations, and what they support; imported on demand, since Triton may be absent."""
    if name not in (*MODULES, "SUPPORTS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    loaded = {operation: import_module(f"{__name__}.{module}") for operation, module in MODULES.items()}
    globals().update({operation: getattr(module, operation) for operation, module in loaded.items()})
    globals()["SUPPORTS"] = {operation: module.supports for operation, module in loaded.items()}
    return globals()[name]
