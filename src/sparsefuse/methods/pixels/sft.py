"""Sparse Fusion Transformer on pixels: every stage fuses the streams in a few pooled tokens (after Ding et al. 2021).

    each stream:  patches -> own blocks -> pool to K tokens  \\                            / spread to pixels -> ...
                                                              T dense blocks over all
    each stream:  patches -> own blocks -> pool to K tokens  /                            \\ spread to pixels -> ...

then the mean of the streams' pyramids, and one head. The paper fuses clips once; here every stage does, for a pyramid
is read at all of its stages. A stage of n blocks has `unimodal_depth` own ones and T = n less those, at least one.
Windows are as large as the stage's reduction of keys, so K is the same in every stage, a token for every 32 x 32 pixels
(b0 to b3): only own blocks grow with the pixels. What dense blocks change in a token is added to the pixels of its
window, enlarged bilinearly.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sparsefuse.layers.block import Block
from sparsefuse.layers.pixels.encoder import Mix, Stage, at, encoder
from sparsefuse.layers.pixels.field import enlarged, mean_of_windows
from sparsefuse.layers.pixels.head import PixelHead
from sparsefuse.layers.pixels.sizes import Size, Task, size_of
from sparsefuse.model.pixels import PixelModel
from sparsefuse.tokens import Field, PixelState, Tokens

TEST: dict[str, Any] = {}


def build(
    streams: Mapping[str, int],
    num_classes: int,
    *,
    task: Task = "segment",
    size: str | Size | Mapping[str, Any] = "b0",
    drop_path: float = 0.1,
    unimodal_depth: int = 1,
) -> PixelModel:
    """`unimodal_depth` is the paper's L, of each stage."""
    if unimodal_depth < 0:
        raise ValueError(f"unimodal_depth must be 0 or more; got {unimodal_depth}")
    whole, names = size_of(task, size), tuple(streams)

    def stage(stage: Stage) -> list[nn.Module]:
        own, fused = stage.drop_paths[:unimodal_depth], stage.drop_paths[unimodal_depth:] or stage.drop_paths[-1:]
        return [*(Mix(names, stage, rate) for rate in own), Fuse(names, stage, fused)]

    layers = [*encoder(streams, whole, stage, drop_path=drop_path), MeanOfPyramids(names, len(whole.dims))]
    return PixelModel(streams, names, layers, PixelHead(("fused",), task, whole, num_classes))


class Fuse(nn.Module):
    """Pools every stream, runs dense blocks over the tokens of all, and adds to the pixels what changed."""

    def __init__(self, names: tuple[str, ...], stage: Stage, drop_paths: tuple[float, ...]):
        super().__init__()
        self.names, self.window = names, stage.reduction
        self.blocks = nn.ModuleList(
            Block(stage.dim, stage.num_heads, mlp_ratio=4, drop_path=rate, style="vit") for rate in drop_paths
        )

    def forward(self, state: PixelState) -> PixelState:
        streams = dict(state.streams)
        pooled = [mean_of_windows(streams[name], self.window) for name in self.names]  # SFT eq. 4
        before = Tokens(*(torch.cat(parts, 1) for parts in zip(*(field.tokens() for field in pooled), strict=True)))
        fused = before
        for block in self.blocks:
            fused = block(fused)
        changes = (fused.x - before.x).unflatten(1, (len(self.names), -1))
        for i, (name, tokens) in enumerate(zip(self.names, pooled, strict=True)):
            x, mask = streams[name]
            grid = Field(changes[:, i].reshape(tokens.x.shape), tokens.mask)
            streams[name] = Field(x + enlarged(grid, self.window, *mask.shape[1:]), mask)
        return state._replace(streams=streams)


class MeanOfPyramids(nn.Module):
    """Makes the pyramid `fused`: the mean of the streams that are there."""

    def __init__(self, names: tuple[str, ...], num_stages: int):
        super().__init__()
        self.names, self.num_stages = names, num_stages

    def forward(self, state: PixelState) -> PixelState:
        streams = {}
        for stage in range(1, self.num_stages + 1):
            fields = [state.streams[at(name, stage)] for name in self.names]
            x, mask = torch.stack([field.x for field in fields]), torch.stack([field.mask for field in fields])
            weight = mask[..., None].to(x.dtype)
            mean = (x * weight).sum(0) / weight.sum(0).clamp_min(1)
            streams[at("fused", stage)] = Field(mean, mask.any(0))
        return state._replace(streams=streams)
