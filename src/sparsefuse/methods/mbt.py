"""Multimodal Bottleneck Transformer: modalities meet only in a few shared tokens (Nagrani et al. 2021).

    each modality:  embed -> 8 blocks -> 4 blocks over [its tokens | bottleneck] -> shared head  \\
                                                     |  bottleneck  |                             mean
    each modality:  embed -> 8 blocks -> 4 blocks over [its tokens | bottleneck] -> shared head  /

Four bottleneck tokens and fusion in the last third, as the paper; width and depth of the SFT study. `symmetric`: the
new bottleneck is the mean of what the modalities make of it (the released code); `sequential`: it passes from one to
the next.
"""

from typing import Literal

import torch
from torch import nn

from sparsefuse.layers.block import Block, Pattern, PerStream, presence
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.layers.options import span_for
from sparsefuse.model import FusionModel
from sparsefuse.names import unknown
from sparsefuse.tokens import State, Tokens

TEST = {"unimodal_depth": 1, "fusion_depth": 2, "num_bottlenecks": 2, "dim": 20, "num_heads": 5}

Update = Literal["symmetric", "sequential"]


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    unimodal_depth: int = 8,
    fusion_depth: int = 4,
    num_bottlenecks: int = 4,
    update: Update = "symmetric",
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    unimodal_attention: Pattern = "dense",
) -> FusionModel:
    """`num_bottlenecks` is the paper's B, `unimodal_depth` its fusion layer L_f."""
    if update not in ("symmetric", "sequential"):
        raise ValueError(unknown("bottleneck update", update, ("symmetric", "sequential")))
    names = tuple(sorted(features))

    def block(name: str, pattern: Pattern = "dense") -> Block:
        span = span_for(name, lengths, pattern)
        return Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, pattern=pattern, span=span)

    layers: list[nn.Module] = [PerStream(names, lambda n: block(n, unimodal_attention)) for _ in range(unimodal_depth)]
    layers.append(AddBottleneck(num_bottlenecks, dim))
    layers += [ThroughBottleneck(names, [block(name) for name in names], update) for _ in range(fusion_depth)]
    head = Head(dim, num_classes, names, reduce="mean")
    return FusionModel(Embed(features, dim, lengths), layers, head, features=features)


class AddBottleneck(nn.Module):
    """Adds the stream `bottleneck`: learned tokens, the same for every sample."""

    def __init__(self, num_bottlenecks: int, dim: int):
        super().__init__()
        self.tokens = nn.Parameter(0.02 * torch.randn(1, num_bottlenecks, dim))

    def forward(self, state: State) -> State:
        any_stream = next(iter(state.streams.values()))
        x = self.tokens.expand(any_stream.x.shape[0], -1, -1).to(any_stream.x.dtype)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        return state._replace(streams={**state.streams, "bottleneck": Tokens(x, mask)})


class ThroughBottleneck(nn.Module):
    """One fusion layer: every modality attends to itself and the bottleneck (MBT eqs. 8-9)."""

    def __init__(self, modalities: tuple[str, ...], blocks: list[Block], update: Update):
        super().__init__()
        self.modalities, self.blocks, self.update = modalities, nn.ModuleList(blocks), update

    def forward(self, state: State) -> State:
        streams = dict(state.streams)
        bottleneck = streams["bottleneck"]
        views, weights = [], []
        for name, block in zip(self.modalities, self.blocks, strict=True):
            tokens = streams[name]
            both = Tokens(torch.cat([tokens.x, bottleneck.x], 1), torch.cat([tokens.mask, bottleneck.mask], 1))
            length = tokens.x.shape[1]
            x = block(both).x
            streams[name] = Tokens(x[:, :length], tokens.mask)
            # A modality that a sample lacks leaves the bottleneck as it was.
            if self.update == "sequential":
                x = torch.lerp(bottleneck.x, x[:, length:], presence(tokens))
                bottleneck = Tokens(x, bottleneck.mask)
            else:
                views.append(x[:, length:] * presence(tokens))
                weights.append(presence(tokens))
        if self.update == "symmetric":
            mean = torch.stack(views).sum(0) / torch.stack(weights).sum(0).clamp_min(1e-6)
            bottleneck = Tokens(mean, bottleneck.mask)
        return state._replace(streams={**streams, "bottleneck": bottleneck})
