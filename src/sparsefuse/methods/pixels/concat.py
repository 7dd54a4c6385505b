"""Concatenation on pixels: each stream alone through its encoder, joined at the end of every stage, before one head.

    each stream:  patches -> blocks -> ... -> own pyramid  \\
                                                            side by side, made as wide as one, stage by stage -> head
    each stream:  patches -> blocks -> ... -> own pyramid  /

A stream that a sample lacks is zero.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparsefuse.layers.pixels.encoder import alone, at, encoder
from sparsefuse.layers.pixels.field import zeroed
from sparsefuse.layers.pixels.head import PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
from sparsefuse.layers.pixels.weights import norm
from sparsefuse.model.pixels import PixelModel
from sparsefuse.tokens import Field, PixelState

TEST: dict[str, Any] = {}


def build(
    streams: Mapping[str, int],
    num_classes: int,
    *,
    task: Task = "segment",
    size: str | Size | Mapping[str, Any] = "b0",
    drop_path: float = 0.1,
) -> PixelModel:
    """An encoder per stream, one head."""
    whole, names = size_of(task, size), tuple(streams)
    layers = encoder(streams, whole, alone(names), drop_path=drop_path)
    return PixelModel(
        streams, names, [*layers, JoinStages(names, whole)], PixelHead(("fused",), task, whole, num_classes)
    )


class JoinStages(nn.Module):
    """Makes the pyramid `fused` of those of all streams."""

    def __init__(self, names: tuple[str, ...], size: Size):
        super().__init__()
        self.names = names
        self.narrow = nn.ModuleList(nn.Linear(len(names) * dim, dim) for dim in size.dims)
        self.norms = nn.ModuleList(norm(dim) for dim in size.dims)

    def forward(self, state: PixelState) -> PixelState:
        streams = {}
        for stage, (narrow, own) in enumerate(zip(self.narrow, self.norms, strict=True), 1):
            fields = [state.streams[at(name, stage)] for name in self.names]
            x = own(narrow(torch.cat([zeroed(field) for field in fields], -1)))
            streams[at("fused", stage)] = Field(x, torch.stack([field.mask for field in fields]).any(0))
        return state._replace(streams=streams)
