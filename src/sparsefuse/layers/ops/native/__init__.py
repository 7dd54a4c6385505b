"""The operations in C++, for processors: float32, heads up to 16 wide; forward and backward."""

import sys

import torch

from sparsefuse.layers.ops.native import attention as _attention
from sparsefuse.layers.ops.native import block as _block
from sparsefuse.layers.ops.native import building
from sparsefuse.layers.ops.native import embed as _embed

attention, blocks, embedding = _attention.attention, _block.blocks, _embed.embedding
SUPPORTS = {"attention": _attention.supports, "blocks": _block.supports, "embedding": _embed.supports}


def description() -> str:
    """What is used."""
    return f"C++ for {torch.backends.cpu.get_cpu_capability()}"


def unavailable() -> str:
    """Why this backend cannot be used here; empty if it can."""
    capability = torch.backends.cpu.get_cpu_capability()
    if sys.platform != "linux" or capability not in building.FOR:
        return f"it is built for Linux on x86-64 with AVX2 or AVX-512; this is {sys.platform}, {capability}"
    return "" if building.library("attention", 8) is not None else "it could not be built; the log says why"
