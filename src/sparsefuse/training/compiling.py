"""Which layers torch.compile makes faster: a model in, those compiled."""

from torch import nn

from sparsefuse.layers.block import Attention
from sparsefuse.layers.ops.native import attention as native
from sparsefuse.layers.ops.native.building import library
from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.model import FusionModel


def compile_layers(model: FusionModel) -> list[int]:
    """Has torch.compile compile layers of `model`, each by itself, when they are next run; returns their places.

    On a processor, not those that are C++ of ours, which is faster (README, Performance), and of the others only those
    behind the pooling of tokens. Elsewhere all of them.
    """
    chosen = list(range(len(model.layers)))
    if next(model.parameters()).device.type == "cpu":
        pooled = [place for place in chosen if _has(model.layers[place], Sparsify)]
        behind = chosen[pooled[-1] + 1 :] if pooled else []
        chosen = [place for place in behind if not _native(model.layers[place])]
    for place in chosen:
        model.layers[place].compile()
    return chosen


def _has(layer: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(part, kind) for part in layer.modules())


def _native(layer: nn.Module) -> bool:
    widths = [part.width for part in layer.modules() if isinstance(part, Attention)]
    return bool(widths) and all(width <= native.WIDEST and library("attention", width) is not None for width in widths)
