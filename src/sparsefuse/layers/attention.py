"""Dense attention: queries, keys, values and a key mask in, attended values out.

Every pattern (here and in `sparse.py`) is a pure function with the signature of `dense`. A key's mask may be a
float weight in [0, 1]: its logarithm is added to the logits, so a weight of 1/2 counts as half a token.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.tracing import full

# Finite, so that a row without any visible key (a missing modality) stays finite in every kernel; far enough
# below any logit that exp() is exactly 0 where at least one key is visible.
MASKED = -1e4


class Attended(NamedTuple):
    """The result of an attention pattern."""

    x: Tensor
    """(B, H, N, D/H) attended values."""
    received: Tensor | None
    """(B, N) mean attention each token gets, over heads and queries other than CLS; None unless asked."""


def key_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, N) mask or weights -> (B, N) log-weights to add to the logits; `MASKED` where nothing is there."""
    return mask.to(torch.float32).log().clamp_min(MASKED).to(dtype)


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int = 0, want_received: bool = False) -> Attended:
    """Every query (B, H, N, D/H) attends to every real key (B, H, N', D/H); `mask` (B, N'). `span` is not used."""
    bias = None if full(mask) else key_bias(mask, q.dtype)[:, None, None, :]  # (B, 1, 1, N')
    x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    if not want_received:
        return Attended(x, None)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    weights = (scores if bias is None else scores + bias).softmax(-1)  # (B, H, N, N)
    asked_by = mask.to(weights.dtype)[:, None, 1:, None]  # real queries other than CLS
    return Attended(x, (weights[:, :, 1:] * asked_by).sum(2).mean(1) / asked_by.sum(2)[:, 0].clamp_min(1))
