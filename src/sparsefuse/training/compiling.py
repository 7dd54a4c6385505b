"""Which layers torch.compile makes faster: a model in, those compiled."""

from sparsefuse.layers import ops
from sparsefuse.model import FusionModel


def compile_layers(model: FusionModel) -> list[int]:
    """Has torch.compile compile the layers of `model`, each by itself, when they are next run; returns their places.

    None where a backend of `layers.ops` computes them faster than compiled ones (README, Performance).
    """
    if ops.has_alternative(next(model.parameters())):
        return []
    for layer in model.layers:
        layer.compile()
    return list(range(len(model.layers)))
