"""Late fusion on pixels: each stream alone to the end, predictions averaged with learned weights.

    each stream:  patches -> blocks -> ... -> own pyramid -> own head  \\
                                                                     weighted
    each stream:  patches -> blocks -> ... -> own pyramid -> own head  /

Each stream's prediction has a loss of its own, the average's trains its weights: so each answers where others are gone.
"""

from collections.abc import Mapping
from typing import Any

from sparsefuse.layers.options import check_choice
from sparsefuse.layers.pixels.encoder import Shared, alone, encoder
from sparsefuse.layers.pixels.head import Loss, PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
from sparsefuse.model.pixels import PixelModel

TEST: dict[str, Any] = {}


def build(
    streams: Mapping[str, int],
    num_classes: int,
    *,
    task: Task = "segment",
    size: str | Size | Mapping[str, Any] = "b0",
    drop_path: float = 0.1,
    shared: Shared = "none",
    loss: Loss = "each",
) -> PixelModel:
    """`shared`: what streams share of encoder and head. `loss`: of each stream's prediction, or of their mean."""
    check_choice("choice of shared", shared, Shared)
    whole, names = size_of(task, size), tuple(streams)
    layers = encoder(streams, whole, alone(names, shared), drop_path=drop_path, shared=shared)
    return PixelModel(streams, names, layers, PixelHead(names, task, whole, num_classes, shared=shared, loss=loss))
