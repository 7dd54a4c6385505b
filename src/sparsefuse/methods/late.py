"""Late fusion: each modality alone to the end, logits summed.

    each modality:  embed -> 12 blocks -> shared head  \\ sum
    each modality:  embed -> 12 blocks -> shared head  /

The "LF" baseline of Ding et al. 2021 (section 4.3); the classifier is shared as in the released code.
"""

from sparsefuse.layers.block import Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.layers.ops import Pattern
from sparsefuse.layers.options import span_for
from sparsefuse.layers.pool import Pool
from sparsefuse.layers.sparsify import pooling
from sparsefuse.layers.streams import PerStream
from sparsefuse.model import FusionModel

TEST = {"unimodal_depth": 2, "dim": 20, "num_heads": 5}


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    unimodal_depth: int = 12,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    unimodal_attention: Pattern = "dense",
    pool: Pool = "max",
    stride: int | dict[str, int] | None = None,
) -> FusionModel:
    """Twelve layers of width 40 per modality; `stride` pools after the first (SFT section 5.2)."""
    names = tuple(sorted(features))

    def block(name: str) -> Block:
        span = span_for(name, lengths, unimodal_attention)
        return Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, pattern=unimodal_attention, span=span)

    blocks = [PerStream(names, block) for _ in range(unimodal_depth)]
    layers = [*blocks[:1], *pooling(names, stride, pool), *blocks[1:]]
    return FusionModel(Embed(features, dim, lengths), layers, Head(dim, num_classes, names), features=features)
