"""Multimodal Bottleneck Transformer on pixels: streams meet in a few tokens that pass all stages (Nagrani et al. 2021).

    each stream:  patches -> blocks over [its keys | bottleneck] -> patches -> ... -> own pyramid -> own head  \\
                                            |  bottleneck  |  -> made wider -> ...                         weighted
    each stream:  patches -> blocks over [its keys | bottleneck] -> patches -> ... -> own pyramid -> own head  /

Where the paper, of clips, needs a choice for pyramids: the bottleneck is projected to the width of each stage; it
passes the MLP without the convolution, for it stands nowhere in the picture. As in the released code the new bottleneck
is the mean of the streams' updates of it. Unlike the paper the average of predictions has learned weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparsefuse.layers.options import check_choice
from sparsefuse.layers.pixels.encoder import Mix, Shared, Stage, encoder
from sparsefuse.layers.pixels.head import Loss, PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
from sparsefuse.layers.pixels.weights import linear
from sparsefuse.model.pixels import PixelModel
from sparsefuse.tokens import Field, PixelState, Tokens

TEST: dict[str, Any] = {"num_bottlenecks": 2}


def build(
    streams: Mapping[str, int],
    num_classes: int,
    *,
    task: Task = "segment",
    size: str | Size | Mapping[str, Any] = "b0",
    drop_path: float = 0.1,
    num_bottlenecks: int = 4,
    shared: Shared = "none",
    loss: Loss = "mean",
) -> PixelModel:
    """`num_bottlenecks` is the paper's B. `shared`: what streams share of encoder and head. `loss`: of the mean of the
    streams' predictions, or of each."""
    check_choice("choice of shared", shared, Shared)
    if num_bottlenecks < 1:
        raise ValueError(f"num_bottlenecks must be 1 or more; got {num_bottlenecks}; for none take method late")
    whole, names = size_of(task, size), tuple(streams)

    def stage(stage: Stage) -> list[nn.Module]:
        first = stage.number == 1
        widen = AddBottleneck(num_bottlenecks, stage.dim) if first else Widen(whole.dims[stage.number - 2], stage.dim)
        return [widen, *(ThroughBottleneck(Mix(names, stage, rate, shared)) for rate in stage.drop_paths)]

    layers = encoder(streams, whole, stage, drop_path=drop_path, shared=shared)
    return PixelModel(streams, names, layers, PixelHead(names, task, whole, num_classes, shared=shared, loss=loss))


class AddBottleneck(nn.Module):
    """Adds the tokens `bottleneck`: learned, the same for every sample."""

    def __init__(self, num_bottlenecks: int, dim: int):
        super().__init__()
        self.tokens = nn.Parameter(0.02 * torch.randn(1, num_bottlenecks, dim))

    def forward(self, state: PixelState) -> PixelState:
        x = self.tokens.expand(next(iter(state.streams.values())).x.shape[0], -1, -1)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return state._replace(tokens={"bottleneck": Tokens(x, mask)})


class Widen(nn.Module):
    """The bottleneck as wide as the next stage."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.linear = linear(dim_in, dim)

    def forward(self, state: PixelState) -> PixelState:
        x, mask = state.tokens["bottleneck"]
        return state._replace(tokens={"bottleneck": Tokens(self.linear(x), mask)})


class ThroughBottleneck(nn.Module):
    """A block: every stream attends to its own keys and the bottleneck, and so does the bottleneck (MBT eqs. 8-9)."""

    def __init__(self, mix: Mix):
        super().__init__()
        self.mix = mix

    def forward(self, state: PixelState) -> PixelState:
        streams, (old, real) = dict(state.streams), state.tokens["bottleneck"]
        count = old.shape[1]
        updates, weights = [], []
        for name, block, norms in self.mix.parts():
            x, mask = streams[name]
            y, between = Field(norms.attention(x), mask), norms.attention(old)
            own = block.attention.keys(y, norms)
            keys = Tokens(torch.cat([own.x, between], 1), torch.cat([own.mask, real], 1))
            attended = block.drop(block.attention(torch.cat([y.tokens().x, between], 1), keys))
            x, new = x + attended[:, :-count].reshape(x.shape), old + attended[:, -count:]
            streams[name] = Field(x + block.drop(block.mlp(Field(norms.mlp(x), mask))), mask)
            # A stream that a sample lacks leaves the bottleneck as it was.
            there = mask.flatten(1).any(1)[:, None, None].to(new.dtype)
            updates.append((new + block.drop(block.mlp.without_grid(norms.mlp(new)))) * there)
            weights.append(there)
        mean = torch.stack(updates).sum(0) / torch.stack(weights).sum(0).clamp_min(1)
        return state._replace(streams=streams, tokens={"bottleneck": Tokens(mean, real)})
