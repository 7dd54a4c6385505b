"""One modality alone: the baseline that shows what fusion adds.

    embed -> 12 blocks -> head

The single-modality transformers of Ding et al. 2021 (section 5.3). Other modalities may be given and are not read.
"""

from sparsefuse.errors import unknown
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
    modality: str | None = None,
    unimodal_depth: int = 12,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    unimodal_attention: Pattern = "dense",
    pool: Pool = "max",
    stride: int | None = None,
) -> FusionModel:
    """`modality` is the one to read, the first by name if not given; `stride` pools after the first layer."""
    name = min(features) if modality is None else modality
    if name not in features:
        raise ValueError(unknown("modality", name, features))

    def block(_: str) -> Block:
        span = span_for(name, lengths, unimodal_attention)
        return Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop, pattern=unimodal_attention, span=span)

    blocks = [PerStream((name,), block) for _ in range(unimodal_depth)]
    layers = [*blocks[:1], *pooling((name,), stride, pool), *blocks[1:]]
    embed = Embed({name: features[name]}, dim, lengths)
    return FusionModel(embed, layers, Head(dim, num_classes, (name,)), features=features)
