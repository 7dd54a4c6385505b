"""Pre-norm blocks and the embedding of features, written as their equations."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.ops.torch.patterns import attention
from sparsefuse.layers.ops.weights import BlockWeights


def blocks(
    x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str, span: int, eps: float
) -> Tensor:
    """See `ops.blocks`."""
    for w in stack:
        dim = x.shape[2]
        rows = F.linear(F.layer_norm(x, (dim,), eps=eps), w.qkv, w.qkv_bias)
        q, k, v = rows.unflatten(2, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, N, D/H)
        attended = attention(q, k, v, mask, pattern=pattern, span=span).transpose(1, 2).flatten(2)
        x = x + F.linear(attended, w.out, w.out_bias)  # SFT eq. 2
        if w.first is not None and w.second is not None:
            hidden = F.linear(F.layer_norm(x, (dim,), w.norm, w.norm_bias, eps), w.first, w.first_bias)
            x = x + F.linear(hidden.relu(), w.second, w.second_bias)  # SFT eq. 3
    return x


def embedding(x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor) -> Tensor:
    """See `ops.embedding`."""
    tokens = F.linear(x, weight, bias)
    tokens = torch.cat([cls.expand(len(x), 1, -1).to(tokens.dtype), tokens], 1)
    return tokens + position[: tokens.shape[1]]
