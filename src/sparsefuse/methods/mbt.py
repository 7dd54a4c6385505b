"""Multimodal Bottleneck Transformer: modalities meet only in a few shared tokens (Nagrani et al. 2021).

    each modality:  embed -> 8 blocks -> 4 blocks over [its tokens | bottleneck] -> shared head  \\
                                                     |  bottleneck  |                             mean
    each modality:  embed -> 8 blocks -> 4 blocks over [its tokens | bottleneck] -> shared head  /

Four bottleneck tokens and fusion in the last third, as the paper; width and depth of the SFT study. `symmetric`: the
new bottleneck is the mean of the modalities' updates of it (the released code); `sequential`: one modality updates it
after another. The paper's baselines: fusion `vanilla`, all tokens attend to all, and `cross`, the same with separate
weights per modality.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from sparsefuse.layers.block import Block, CrossBlock, Style
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.fused import run_blocks
from sparsefuse.layers.head import Head
from sparsefuse.layers.ops import Pattern
from sparsefuse.layers.options import check_choice, span_for
from sparsefuse.layers.patches import Patches, grids, token_lengths
from sparsefuse.layers.streams import PerStream, presence
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens

TEST = {"unimodal_depth": 1, "fusion_depth": 2, "num_bottlenecks": 2, "dim": 20, "num_heads": 5}

Fusion = Literal["bottleneck", "vanilla", "cross"]
Update = Literal["symmetric", "sequential"]
Loss = Literal["mean", "each"]


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    unimodal_depth: int = 8,
    fusion_depth: int = 4,
    fusion: Fusion = "bottleneck",
    num_bottlenecks: int = 4,
    update: Update = "symmetric",
    shared: bool = False,
    loss: Loss = "mean",
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    drop_path: float = 0.0,
    unimodal_attention: Pattern = "dense",
    patches: Patches | None = None,
    style: Style = "sft",
) -> FusionModel:
    """`num_bottlenecks` is the paper's B, `unimodal_depth` its fusion layer L_f; `shared`: one encoder for all
    modalities. `loss`: of the mean of the modalities' logits (the SFT study), or of each alone (the paper).
    `drop_path`: stochastic depth of the last layer, 0 in the first, linear between (the paper's 0.3). `patches` cut raw
    frames into tokens; `style` vit has a Vision Transformer's norms and GELU, for `train.pretrained`;
    scenic those of the released code."""
    check_choice("fusion", fusion, Fusion)
    check_choice("bottleneck update", update, Update)
    check_choice("loss", loss, Loss)
    check_choice("style", style, Style)
    if fusion == "bottleneck" and num_bottlenecks < 1:
        raise ValueError(f"num_bottlenecks must be 1 or more; got {num_bottlenecks}; for no fusion set fusion_depth=0")
    names = tuple(sorted(features))
    depth = unimodal_depth + fusion_depth

    def own(layer: int, pattern: Pattern = "dense", span: int = 0) -> Block:
        path = drop_path * layer / max(depth - 1, 1)
        return Block(
            dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, pattern=pattern, span=span, drop_path=path, style=style
        )

    def across(layer: int) -> CrossBlock:
        path = drop_path * layer / max(depth - 1, 1)
        return CrossBlock(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, drop_path=path, style=style)

    def unimodal(layer: int) -> nn.Module:
        longest = token_lengths(lengths, grids(patches, features))
        spans = {name: span_for(name, longest, unimodal_attention) for name in names}
        return PerStream(names, lambda name: own(layer, unimodal_attention, spans[name]), shared=shared)

    def fused(layer: int) -> nn.Module:
        if fusion == "vanilla":
            return AllToAll(names, own(layer))
        if fusion == "cross":
            return OwnToAll(names, lambda _: across(layer), shared=shared)
        return ThroughBottleneck(names, lambda _: own(layer), update, shared=shared)

    layers = [unimodal(layer) for layer in range(unimodal_depth)]
    layers += [AddBottleneck(num_bottlenecks, dim)] if fusion == "bottleneck" and fusion_depth else []
    layers += [fused(layer) for layer in range(unimodal_depth, depth)]
    head = Head(dim, num_classes, names, reduce="mean", apart=loss == "each")
    return FusionModel(Embed(features, dim, lengths, patches), layers, head, features=features)


class AddBottleneck(nn.Module):
    """Adds the stream `bottleneck`: learned tokens, the same for every sample."""

    is_block = False  # mixup does not strike after it

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

    def __init__(
        self, modalities: tuple[str, ...], make: Callable[[str], nn.Module], update: Update, *, shared: bool = False
    ):
        super().__init__()
        self.each, self.update = PerStream(modalities, make, shared=shared), update

    def forward(self, state: State) -> State:
        streams = dict(state.streams)
        bottleneck = streams["bottleneck"]
        updates, weights = [], []
        for name, block in self.each.named_blocks():
            tokens = streams[name]
            length = tokens.x.shape[1]
            x = run_blocks([block], side_by_side(tokens, bottleneck)).x
            streams[name] = Tokens(x[:, :length], tokens.mask)
            # A modality that a sample lacks leaves the bottleneck as it was.
            if self.update == "sequential":
                x = torch.lerp(bottleneck.x, x[:, length:], presence(tokens))
                bottleneck = Tokens(x, bottleneck.mask)
            else:
                updates.append(x[:, length:] * presence(tokens))
                weights.append(presence(tokens))
        if self.update == "symmetric":
            mean = torch.stack(updates).sum(0) / torch.stack(weights).sum(0).clamp_min(1e-6)
            bottleneck = Tokens(mean, bottleneck.mask)
        return state._replace(streams={**streams, "bottleneck": bottleneck})


class AllToAll(nn.Module):
    """One fusion layer of the vanilla baseline: one block over all tokens."""

    def __init__(self, modalities: tuple[str, ...], block: nn.Module):
        super().__init__()
        self.modalities, self.block = modalities, block

    def forward(self, state: State) -> State:
        streams = {name: state.streams[name] for name in self.modalities}
        parts = run_blocks([self.block], side_by_side(*streams.values())).x.split(
            [t.x.shape[1] for t in streams.values()], 1
        )
        new = {name: Tokens(x, t.mask) for (name, t), x in zip(streams.items(), parts, strict=True)}
        return state._replace(streams={**state.streams, **new})


class OwnToAll(nn.Module):
    """One fusion layer of the cross-attention baseline: each modality's tokens attend to all, with weights of its own.

    The released code computes all tokens' queries and keeps the modality's own: the same result at M times the cost.
    """

    def __init__(self, modalities: tuple[str, ...], make: Callable[[str], nn.Module], *, shared: bool = False):
        super().__init__()
        self.each = PerStream(modalities, make, shared=shared)

    def forward(self, state: State) -> State:
        read = side_by_side(*(state.streams[name] for name in self.each.names))
        new = {name: block(state.streams[name], read) for name, block in self.each.named_blocks()}
        return state._replace(streams={**state.streams, **new})


def side_by_side(*streams: Tokens) -> Tokens:
    """Streams (B, N, D) one after another."""
    return Tokens(torch.cat([t.x for t in streams], 1), torch.cat([t.mask for t in streams], 1))
