"""Compiles a model's layers with torch.compile where that makes them faster."""

from sparsefuse.layers import ops
from sparsefuse.model import FusionModel


def compile_layers(model: FusionModel) -> list[int]:
    """Compiles the layers of `model` with torch.compile, each by itself, at the next call; returns their indices.

    No layers if a backend of `layers.ops` is faster than compiled ones (README, Performance).
    """
    if ops.has_alternative(next(model.parameters())):
        return []
    for layer in model.layers:
        layer.compile()
    return list(range(len(model.layers)))
