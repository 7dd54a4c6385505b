"""The operations in C++, for processors: float32, heads of up to 16 channels; forward and backward."""

from sparsefuse.layers.ops.native import attention as _attention
from sparsefuse.layers.ops.native import block as _block
from sparsefuse.layers.ops.native import embed as _embed
from sparsefuse.layers.ops.native import library as _library

attention, blocks, embedding = _attention.attention, _block.blocks, _embed.embedding
SUPPORTS = {"attention": _attention.supports, "blocks": _block.supports, "embedding": _embed.supports}


def unavailable() -> str:
    """Why this backend cannot be used here; empty if it can."""
    status = _library.status()
    return "" if status.instructions else status.why


def description() -> str:
    """The library that is loaded, as a sentence."""
    return str(_library.status())
