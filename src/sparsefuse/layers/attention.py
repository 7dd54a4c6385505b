"""Dense attention: queries, keys, values and a key mask in, attended values out.

Every pattern (here and in `sparse.py`) is a pure function with the signature of `dense`. A key's mask may be a
float weight in [0, 1]: its logarithm is added to the logits, so a weight of 1/2 counts as half a token.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.ops.native import attention as native
from sparsefuse.layers.ops.tracing import eager, exporting, full
from sparsefuse.layers.powers import MASKED, relative, small
from sparsefuse.layers.tiled import by_head, tiled

FEW = 128**2
"""Scores of a head up to which plain products take half to three quarters of the time of PyTorch's kernel; they are
kept for the way back."""
NARROW = 8
"""Width of a head up to which `tiled` is faster than PyTorch's kernel."""
THREADS = 4
"""Threads up to which `tiled` is used: each of its products waits for all threads, the kernel's do not. More than two
were not measured."""


class Attended(NamedTuple):
    """The result of an attention pattern."""

    x: Tensor
    """(B, H, N, D/H) attended values."""
    received: Tensor | None
    """(B, N) mean attention each token gets, over heads and queries other than CLS; None unless asked."""


def key_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, N) mask or weights -> (B, N) log-weights to add to the logits; `MASKED` where nothing is there."""
    return mask.to(torch.promote_types(dtype, torch.float32)).log().clamp_min(MASKED).to(dtype)


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int = 0, want_received: bool = False) -> Attended:
    """Every query (B, H, N, D/H) attends to every real key (B, H, N', D/H); `mask` (B, N'). `span` is not used."""
    if not want_received and native.possible(q, mask, q.shape[3]) and native.possible(k, mask, q.shape[3]):
        return Attended(native.dense(q, k, v, mask), None)
    if not want_received and not _few(q, k):
        if _narrow(q, mask) and small(q, k, dim=-1):
            return Attended(tiled(q, k, v, relative(mask, q.dtype)), None)
        bias = None if full(mask) else key_bias(mask, q.dtype)[:, None, None, :]  # (B, 1, 1, N')
        q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))  # or it forms all scores at once
        return Attended(F.scaled_dot_product_attention(q, k, v, bias), None)
    heads = q.shape[1]
    q, k, v = by_head(q * q.shape[-1] ** -0.5), by_head(k), by_head(v)  # (H B, any, D/H)
    scores = q @ k.mT
    bias = None if full(mask) else key_bias(mask, q.dtype).repeat(heads, 1)[:, None]  # (H B, 1, N')
    weights = (scores if bias is None else scores + bias).softmax(-1)  # (H B, N, N')
    x, weights = (t.unflatten(0, (heads, -1)).transpose(0, 1) for t in (weights @ v, weights))
    if not want_received:
        return Attended(x, None)
    asked_by = mask.to(weights.dtype)[:, None, 1:, None]  # real queries other than CLS
    return Attended(x, (weights[:, :, 1:] * asked_by).sum(2).mean(1) / asked_by.sum(2)[:, 0].clamp_min(1))


def _few(q: Tensor, k: Tensor) -> bool:
    """Whether the scores are so few that a processor is fastest with plain products."""
    return q.device.type == "cpu" and not exporting() and q.shape[2] * k.shape[2] <= FEW


def are_few(x: Tensor, mask: Tensor) -> bool:
    """Whether tokens (B, N, D) are so few that `few` can keep all scores; it knows no gradient of the mask."""
    return x.shape[1] ** 2 <= FEW and not mask.requires_grad


def _narrow(q: Tensor, mask: Tensor) -> bool:
    """Whether `tiled` beats PyTorch's kernel; it knows no gradient of the mask."""
    return eager(q) and not mask.requires_grad and narrow(q.shape[3])


def narrow(width: int) -> bool:
    """Whether heads are so narrow that products want tokens last."""
    return width <= NARROW and torch.get_num_threads() <= THREADS
