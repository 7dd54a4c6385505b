"""Early fusion on pixels: the channels of all streams as one picture, read by one SegFormer.

    stream  \\
             channels side by side -> patches -> blocks -> ... -> head
    stream  /

The baseline nobody may leave out: fusion for the price of one stream. A stream that a sample lacks is zero.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparsefuse.layers.pixels.encoder import alone, encoder
from sparsefuse.layers.pixels.field import zeroed
from sparsefuse.layers.pixels.head import PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
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
    """One encoder of as many channels as all streams have."""
    whole, joined = size_of(task, size), {"fused": sum(streams.values())}
    layers = [SideBySide(tuple(streams)), *encoder(joined, whole, alone(joined), drop_path=drop_path)]
    return PixelModel(streams, streams, layers, PixelHead(("fused",), task, whole, num_classes))


class SideBySide(nn.Module):
    """Makes the stream `fused` of the channels of all; it is real where one of them is."""

    def __init__(self, names: tuple[str, ...]):
        super().__init__()
        self.names = names

    def forward(self, state: PixelState) -> PixelState:
        fields = [state.streams[name] for name in self.names]
        mask = torch.stack([field.mask for field in fields]).any(0)
        return state._replace(streams={"fused": Field(torch.cat([zeroed(field) for field in fields], -1), mask)})
