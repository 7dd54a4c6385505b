"""Softmax without its maximum: scores as powers of two, summed as they are, and weighed with the values.

A key's weight goes with its value, which carries the weight as a channel more: the sum of that channel is what the
others are divided by. On the way back it divides what flows back to a query, not the powers, which are as they were.
"""

import math

import torch
from torch import Tensor

LARGEST = 64
"""Powers of two up to which scores need no maximum taken off: sums from 2^-64 to 2^64 keep all their digits."""
# Finite, so that a row without any visible key (a missing modality) stays finite in every kernel; far enough
# below any score that no power of it is left where at least one key is visible.
MASKED = -1e4
NOTHING = 2.0**-100
"""A sum below this has no key: the largest weight of a sample is 1."""


CACHED = 2**19
"""Scores that go at once, per thread. Fewer leave the threads waiting for each other, more leave the cache."""


def scale(width: int) -> float:
    """What products of queries and keys, heads `width` wide, are multiplied by: scores are powers of two."""
    return math.log2(math.e) * width**-0.5


def small(q: Tensor, k: Tensor, dim: int) -> bool:
    """Whether no score of queries and keys, their channels along `dim`, can be more than `LARGEST`.

    A product is at most that of the lengths.
    """
    return scale(q.shape[dim]) * _longest(q, dim) * _longest(k, dim) <= LARGEST


def _longest(x: Tensor, dim: int) -> float:
    return math.sqrt(float(x.detach().square().sum(dim).amax())) if x.numel() else 0.0


def relative(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask (B, N) as weights, of which a sample's largest is 1; all are 0 if there is nothing."""
    weights = mask.to(dtype)
    return weights / weights.amax(1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)


def weighed(values: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Values, their channels along `dim`, times weights, and the weights as a channel more."""
    weights = weights.unsqueeze(dim)
    return torch.cat([values * weights, weights], dim)


def weigh(values: Tensor, weights: Tensor) -> None:
    """Values (C, H B, N) become values times weights (B or 1, N)."""
    values.view(len(values), -1, *weights.shape).mul_(weights)


def asking(q: Tensor, top: Tensor) -> Tensor:
    """Queries (C, ...) that take `top` (1, ...) off their scores."""
    return torch.cat([q, -top, torch.ones_like(top)])


def asked(k: Tensor, weights: Tensor) -> Tensor:
    """Keys (C, ...) for `asking`; those without weight (...) get no power, which could be any number otherwise."""
    unseen = ((weights == 0) * MASKED).to(k.dtype)[None]
    return torch.cat([k, torch.ones_like(unseen), unseen])


def divide(sums: Tensor, dim: int, *, out: Tensor, share: Tensor) -> None:
    """Sums by what their last channel along `dim` says, one over which is kept. Where nothing is there, 0 is read."""
    channels = sums.shape[dim] - 1
    total = sums.narrow(dim, channels, 1)
    torch.reciprocal(total, out=share)
    share.masked_fill_(share > 1 / NOTHING, 0)
    torch.mul(sums.narrow(dim, 0, channels), share, out=out)


def flowing(grad: Tensor, x: Tensor, share: Tensor, dim: int) -> Tensor:
    """What flows back to sums by what flows back to x, their quotient; the last channel's along `dim` besides."""
    return torch.cat([grad, -(grad * x).sum(dim, keepdim=True)], dim).mul_(share)


def trusted(share: Tensor, there: Tensor) -> bool:
    """Whether scores were so `small` that the shares (H B, N) can be used, of samples that are `there` (B or 1)."""
    if not bool(there.all()):
        share = share.unflatten(0, (-1, len(there)))[:, there]
    if not share.numel():
        return True
    least, most = (float(found) for found in share.aminmax())
    return least >= 2.0**-LARGEST and most <= 2.0**LARGEST  # not so if any is no number


def powers(q: Tensor, k: Tensor, unseen: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """Queries (n, C, L), keys (n, C, S) -> 2 to the power of their scores (n, L, S) and of `unseen` (L, S)."""
    return product(q.mT, k, scale(q.shape[1]), unseen, out=out).exp2_()


def product(a: Tensor, b: Tensor, factor: float, added: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """Products of batches times `factor`, which costs nothing there."""
    beta, added = (0, a.new_empty(1, 1, 1)) if added is None else (1, added)
    return torch.baddbmm(added, a, b, beta=beta, alpha=factor, out=out)  # pyright: ignore[reportArgumentType, reportCallIssue]
