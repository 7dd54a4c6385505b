"""TokenFusion's discriminator of translation: is a picture real, patch by patch, given what it was made from?"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsefuse.layers.pixels.encoder import alone, encoder
from sparsefuse.layers.pixels.field import zeroed
from sparsefuse.layers.pixels.sizes import Size, size_of
from sparsefuse.layers.pixels.weights import linear
from sparsefuse.layers.streams import zero_penalty
from sparsefuse.tokens import Field, PixelState


class Discriminator(nn.Module):
    """Pictures per stream, the pictures that were made of them -> logits per patch and stream, high where real.

    The generator's encoder over both joined, without exchange; streams share it and have norms of their own. All
    streams have as many channels; `channels` are the translated picture's.
    """

    def __init__(
        self,
        streams: Mapping[str, int],
        channels: int,
        *,
        size: str | Size | Mapping[str, Any] = "b0",
        drop_path: float = 0.1,
    ):
        super().__init__()
        whole = size_of("translate", size)
        self.names = tuple(sorted(streams))
        inputs = {name: streams[name] + channels for name in self.names}
        stages = alone(self.names, "all_but_norm")
        self.layers = nn.ModuleList(encoder(inputs, whole, stages, drop_path=drop_path, shared="all_but_norm"))
        self.judge = linear(whole.dims[-1], 1)

    def forward(self, fields: Mapping[str, Field], made: Mapping[str, Tensor]) -> dict[str, Field]:
        """`fields` (B, H, W, F) and `made` (B, H, W, channels) of every stream -> (B, h, w, 1) of each; the loss is of
        the patches that are real under the mask."""
        joined = {
            name: Field(torch.cat([zeroed(fields[name]), made[name]], -1), fields[name].mask) for name in self.names
        }
        state = PixelState(joined, zero_penalty(made[self.names[0]]), {}, {}, {})
        for layer in self.layers:
            state = layer(state)
        return {name: Field(self.judge(x), mask) for name, (x, mask) in state.streams.items() if name in self.names}
