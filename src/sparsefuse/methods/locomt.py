"""Low-Cost Multimodal Transformer LoCoMT: every attention head attends within a modality or across one pair.

Park and Choi 2024, "Multimodal Transformer with a Low-Computational-Cost Guarantee".

    each modality:  embed -> 8 blocks  \\
                                         4 layers whose heads have views: self | a+b | ...  -> mean of CLS -> head
    each modality:  embed -> 8 blocks  /

Attention never costs more than that within each modality alone, whatever the views (`layers.views`): C_LoCoMT <=
C_self, and that is below C_bottleneck and below C_multi for all clips of two streams or more. That C_bottleneck <
C_multi, as the paper has it, holds while M B^2 + 2 B (sum of L) < 2 (sum of L_a L_b over pairs): with two streams of
one length while B < .41 L, so not for short clips with many bottlenecks. The fusion layers' weights are shared by the
modalities, as if they stood in one sequence; each keeps its own CLS. The paper's code is not public: depths are MBT's,
width and heads the SFT study's, and the strategies are defined here:

    low_self_high_cross   heads of the upper layers cross, those of the lower do not (the paper's finding)
    spread                every layer has as many cross heads as any other
    bottleneck            cross heads in the middle layers
    alternating           layers that cross alternate with layers that do not
    random                cross heads drawn by `view_seed`
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from sparsefuse.errors import unknown
from sparsefuse.layers.block import Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.layers.ops import Pattern
from sparsefuse.layers.options import span_for
from sparsefuse.layers.streams import PerStream
from sparsefuse.layers.views import STRATEGIES, FixedViews, Frequencies, LearnedViews, Strategy, ViewBlock, by_strategy
from sparsefuse.model import FusionModel

TEST = {"unimodal_depth": 1, "fusion_depth": 2, "dim": 20, "num_heads": 5}


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    unimodal_depth: int = 8,
    fusion_depth: int = 4,
    views: Strategy | Literal["learned"] | Frequencies | list[Frequencies] = "low_self_high_cross",
    cross: float = 0.5,
    view_seed: int = 0,
    view_price: float = 0.1,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    unimodal_attention: Pattern = "dense",
) -> FusionModel:
    """`views`: a strategy, which gives the share `cross` of all heads to pairs; or heads per view, as
    {self: 2, audio+video: 3}, for every fusion layer or a list with one per layer; or learned, a mixture of all views
    in every head; its expected cost, relative to that of self, times `view_price` is added to the loss."""
    if isinstance(views, str) and views not in (*STRATEGIES, "learned"):
        raise ValueError(unknown("views", views, (*STRATEGIES, "learned")))
    if not 0 <= cross <= 1:
        raise ValueError(f"cross must be a share of the heads, in [0, 1]; got {cross}")
    if view_price < 0:
        raise ValueError(f"view_price must be 0 or more; got {view_price}")
    names = tuple(sorted(features))

    def block(name: str) -> Block:
        span = span_for(name, lengths, unimodal_attention)
        return Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, pattern=unimodal_attention, span=span)

    def fused(heads_views: FixedViews | LearnedViews) -> ViewBlock:
        return ViewBlock(names, heads_views, dim=dim, num_heads=num_heads, mlp_ratio=mlp_ratio, drop=drop)

    layers: list[nn.Module] = [PerStream(names, block) for _ in range(unimodal_depth)]
    if views == "learned" and len(names) > 1:
        layers += [fused(LearnedViews(names, num_heads, view_price / fusion_depth)) for _ in range(fusion_depth)]
    else:
        if isinstance(views, str):
            strategy = "spread" if views == "learned" else views  # one modality: all strategies are the same
            views = by_strategy(
                strategy, cross, modalities=names, num_heads=num_heads, depth=fusion_depth, seed=view_seed
            )
        layers += [fused(FixedViews(names, counts, num_heads)) for counts in _per_layer(views, fusion_depth)]
    head = Head(dim, num_classes, names, reduce="cls")
    return FusionModel(Embed(features, dim, lengths), layers, head, features=features)


def _per_layer(views: Frequencies | Sequence[Frequencies], depth: int) -> Sequence[Frequencies]:
    if isinstance(views, dict):
        return [views] * depth
    if len(views) != depth:
        raise ValueError(f"views must have one entry per fusion layer, {depth}; got {len(views)}")
    return views
