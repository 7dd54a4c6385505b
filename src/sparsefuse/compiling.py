"""Which layers torch.compile makes faster: a model in, those compiled."""

from torch import nn

from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.model import FusionModel


def compile_layers(model: FusionModel) -> list[int]:
    """Has torch.compile compile layers of `model`, each by itself, when they are next run; returns their places.

    On a processor, only those behind the pooling of tokens: over whole streams, attention is one operation of ours
    there, which compiled code cannot use and is slower than (README, Performance). Elsewhere all of them.
    """
    chosen = list(range(len(model.layers)))
    if next(model.parameters()).device.type == "cpu":
        pooled = [place for place in chosen if _has(model.layers[place], Sparsify)]
        chosen = chosen[pooled[-1] + 1 :] if pooled else []
    for place in chosen:
        model.layers[place].compile()
    return chosen


def _has(layer: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(part, kind) for part in layer.modules())
