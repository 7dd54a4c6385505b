"""Multimodal Transformer MulT: every modality attends to every other (Tsai et al. 2019).

    for each pair:    target<-source:  5 crossmodal blocks, keys and values from the source's embedding in each
    for each target:  its pairs side by side (width (M-1) x dim) -> 5 blocks
    head:             CLS of all targets side by side -> residual MLP -> linear

The layer split 5 + 5 is the released code's (its "mem" encoders take max(levels, 3) layers, where the paper says 3);
the SFT study used 1 + 11. MLP ratio 4, as published. Unlike the released code: the shared embedding with learned
positions in place of tokens times sqrt(dim) and sinusoids, which it adds once more before the second stage; the norm
before attention has no weights, and targets and sources share it; one rate of dropout in place of six (attention by
modality, ReLU, residuals, embedding, output); padding is masked, and CLS is read in place of the last time step, which
in a padded batch may not exist; the future mask is an option, `causal`, off by default. With it token i attends to j of
another stream if j <= i + |L - L'|, as released, but L and L' are each clip's own lengths; CLS attends to all, and what
it has read no token reads back. A single modality has no pair, and only the second stage runs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparsefuse.layers.block import Block, CrossBlock
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.streams import PerStream, presence
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens

TEST = {"cross_depth": 2, "fusion_depth": 1, "dim": 20, "num_heads": 5}


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    cross_depth: int = 5,
    fusion_depth: int = 5,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 4.0,
    drop: float = 0.0,
    causal: bool = False,
) -> FusionModel:
    """`cross_depth` crossmodal layers per pair, then `fusion_depth` self-attention layers per target. `causal`: no
    token attends to later ones; CLS, which the head reads, attends to all."""
    names = tuple(sorted(features))
    pairs = {target: tuple(source for source in names if source != target) for target in names}
    wide = dim * max(len(names) - 1, 1)
    options = {"mlp_ratio": mlp_ratio, "drop": drop, "causal": causal}
    layers: list[nn.Module] = []
    if len(names) > 1:
        layers.append(Pair(pairs))
        layers += [Cross(pairs, lambda: CrossBlock(dim, num_heads, **options)) for _ in range(cross_depth)]
        layers.append(SideBySide(pairs, dim))
    layers += [PerStream(names, lambda _: Block(wide, num_heads, **options)) for _ in range(fusion_depth)]
    head = SideBySideHead(names, wide, num_classes, drop)
    return FusionModel(Embed(features, dim, lengths), layers, head, features=features)


class Pair(nn.Module):
    """Adds a stream `target<-source` per ordered pair, which starts as the target's tokens."""

    is_block = False  # mixup does not strike after it

    def __init__(self, pairs: dict[str, tuple[str, ...]]):
        super().__init__()
        self.pairs = pairs

    def forward(self, state: State) -> State:
        new = {f"{t}<-{s}": state.streams[t] for t, sources in self.pairs.items() for s in sources}
        return state._replace(streams={**state.streams, **new})


class Cross(nn.Module):
    """One crossmodal layer for every pair: queries from the target, keys and values from the source's embedding."""

    def __init__(self, pairs: dict[str, tuple[str, ...]], make: Callable[[], CrossBlock]):
        super().__init__()
        self.pairs = [(target, source) for target, sources in pairs.items() for source in sources]
        self.blocks = nn.ModuleList(make() for _ in self.pairs)

    def forward(self, state: State) -> State:
        streams = dict(state.streams)
        for (target, source), block in zip(self.pairs, self.blocks, strict=True):
            streams[f"{target}<-{source}"] = block(streams[f"{target}<-{source}"], streams[source])
        return state._replace(streams=streams)


class SideBySide(nn.Module):
    """Each target's pairs, normalised, side by side: (M-1) x (B, N, D) -> (B, N, (M-1) D), named as the target."""

    is_block = False  # mixup does not strike after it

    def __init__(self, pairs: dict[str, tuple[str, ...]], dim: int):
        super().__init__()
        self.pairs = pairs
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for sources in pairs.values() for _ in sources)

    def forward(self, state: State) -> State:
        norms = iter(self.norm)
        streams = {}
        for target, sources in self.pairs.items():
            parts = [next(norms)(state.streams[f"{target}<-{source}"].x) for source in sources]
            streams[target] = Tokens(torch.cat(parts, -1), state.streams[target].mask)
        return state._replace(streams=streams)


class SideBySideHead(nn.Module):
    """CLS of every target side by side (B, M D'), a residual MLP and a linear layer -> logits (B, C)."""

    def __init__(self, modalities: tuple[str, ...], dim: int, num_classes: int, drop: float):
        super().__init__()
        wide = dim * len(modalities)
        self.modalities = modalities
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for _ in modalities)
        self.mlp = nn.Sequential(nn.Linear(wide, wide), nn.ReLU(), nn.Dropout(drop), nn.Linear(wide, wide))
        self.classify = nn.Linear(wide, num_classes)

    def forward(self, state: State) -> Tensor:
        read = [state.streams[name] for name in self.modalities]
        x = torch.cat([norm(s.x[:, 0]) * presence(s)[:, 0] for norm, s in zip(self.norm, read, strict=True)], -1)
        return self.classify(x + self.mlp(x))
