"""Sparse Fusion Transformer: sparsify each modality, then fuse.

Ding et al. 2021, "Sparse Fusion for Multimodal Transformers".

    each modality:  embed -> L blocks -> sparse attention -> pool to K tokens  \\
                                                                                join -> T dense blocks -> head
    each modality:  embed -> L blocks -> sparse attention -> pool to K tokens  /

Defaults are the paper's: L 1, T 11, width 40, 5 heads, average pooling. Where the paper is silent, the released code
decides: MLP ratio 1, CLS joins after the sparse layer, no position is added after pooling. Unlike the released code,
`sparse="strided"` and `"fixed"` compute their pattern; there they run dense, which is `sparse="dense"` here. `"local"`,
ours, attends to neighbouring tokens and to means of the whole clip (`layers.ops`); `"none"` without mixup is SFT-PO. In
all of them CLS attends to all tokens, and all attend to it.
"""

from typing import Literal

from sparsefuse.layers.block import Attention, Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.layers.join import Join
from sparsefuse.layers.ops import Pattern
from sparsefuse.layers.options import per_modality, span_for
from sparsefuse.layers.pool import Pool, Tail
from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.layers.streams import PerStream
from sparsefuse.model import FusionModel

TEST = {"unimodal_depth": 1, "fusion_depth": 2, "dim": 20, "num_heads": 5, "keep": 3}


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    unimodal_depth: int = 1,
    fusion_depth: int = 11,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    sparse: Literal["strided", "fixed", "local", "dense", "none"] = "strided",
    pool: Pool = "avg",
    keep: int | dict[str, int] | None = None,
    stride: int | dict[str, int] | None = None,
    tail: Tail = "keep",
    unimodal_attention: Pattern = "dense",
) -> FusionModel:
    """`keep` tokens, equal windows of a clip's real length, or windows of `stride` tokens, per modality (a number or a
    dict); 16 are kept by default. `tail` drop leaves out a short window at the end, as the released code does."""
    if keep is not None and stride is not None:
        raise ValueError(f"give keep or stride, not both; got keep={keep}, stride={stride}")
    names = tuple(sorted(features))
    keeps = per_modality("keep", 16 if keep is None and stride is None else keep, names)
    strides = per_modality("stride", stride, names)

    def block(name: str, pattern: Pattern = "dense") -> Block:
        span = span_for(name, lengths, pattern)
        return Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, pattern=pattern, span=span)

    def sparsify(name: str) -> Sparsify:
        attention = None
        if sparse != "none":
            attention = Attention(dim, num_heads, pattern=sparse, span=span_for(name, lengths, sparse))
        return Sparsify(attention, drop=drop, pool=pool, keep=keeps[name], stride=strides[name], tail=tail)

    layers = [PerStream(names, lambda name: block(name, unimodal_attention)) for _ in range(unimodal_depth)]
    layers += [PerStream(names, sparsify), Join(names)]
    layers += [PerStream(("fused",), block) for _ in range(fusion_depth)]
    return FusionModel(Embed(features, dim, lengths), layers, Head(dim, num_classes, ("fused",)), features=features)
