"""Early fusion by concatenation: all tokens of all modalities in one sequence, dense self-attention throughout.

    embed all -> join -> 12 dense blocks -> head

The "Concat" baseline of Ding et al. 2021 (section 4.3). Cost grows with the square of the summed lengths. Unlike the
released code, which reads the first modality's CLS, the CLS tokens are summed, so any modality may be missing.
"""

from sparsefuse.layers.block import Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.head import Head
from sparsefuse.layers.join import Join
from sparsefuse.layers.pool import Pool
from sparsefuse.layers.sparsify import pooling
from sparsefuse.layers.streams import PerStream
from sparsefuse.model import FusionModel

TEST = {"fusion_depth": 2, "dim": 20, "num_heads": 5}


def build(
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    fusion_depth: int = 12,
    dim: int = 40,
    num_heads: int = 5,
    mlp_ratio: float = 1.0,
    drop: float = 0.0,
    pool: Pool = "max",
    stride: int | None = None,
) -> FusionModel:
    """Twelve layers of width 40, as in the SFT study; `stride` pools after the first of them (section 5.2)."""
    blocks = [
        PerStream(("fused",), lambda _: Block(dim, num_heads, mlp_ratio=mlp_ratio, drop=drop))
        for _ in range(fusion_depth)
    ]
    layers = [Join(tuple(sorted(features))), *blocks[:1], *pooling(("fused",), stride, pool), *blocks[1:]]
    return FusionModel(Embed(features, dim, lengths), layers, Head(dim, num_classes, ("fused",)), features=features)
