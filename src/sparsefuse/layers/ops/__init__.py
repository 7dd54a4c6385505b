"""Operations with several backends behind one contract. Code outside does not depend on which backend computes them.

`torch` is the definition, readable and complete; every other backend is tested against it. `SPARSEFUSE_BACKEND` or
`backend(...)` set it; `choose` returns the backend of a call. What is not finite in the definition is not finite in any
backend. Only the definition has second derivatives, torch.func and forward-mode derivatives.
"""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from sparsefuse.layers.ops import torch as definition
from sparsefuse.layers.ops.backends import (
    BACKENDS,
    VARIABLE,
    alternative,
    backend,
    choose,
    has_alternative,
    requested,
    status,
)
from sparsefuse.layers.ops.weights import BlockWeights

__all__ = [
    "BACKENDS", "PATTERNS", "VARIABLE", "BlockWeights", "Pattern", "alternative", "attention", "backend", "blocks",
    "choose", "definition", "embedding", "has_alternative", "received", "requested", "status", "window_index",
    "window_means",
]  # fmt: skip

Pattern = Literal["dense", "strided", "fixed", "local"]
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: Pattern = "dense", span: int = 0) -> Tensor:
    """Scaled dot-product attention over a pattern: queries (B, H, N, C), keys and values (B, H, N', C) -> (B, H, N, C).

    `mask` (B, N') is bool, True = a real key, or a weight in [0, 1] whose logarithm is added to the scores, so that 1/2
    counts as half a token. The output of a row without any visible key is finite and meaningless. The patterns, and
    what `span` is in them, are those of `torch/patterns.py`; all but `dense` need N = N', CLS first. A mask (B, N, N')
    says it for each query; the definition computes that, and only `dense`.

    Raises ValueError for an odd `span` of `local`, or a mask by query with another pattern than `dense`. Native:
    float32, C up to 16, no gradient of the mask, not `fixed`.
    """
    if pattern == "local" and span % 2:
        raise ValueError(f"the span of local attention must be even; got {span}")
    if mask.ndim == 3 and pattern != "dense":
        raise ValueError(f"a mask by query {tuple(mask.shape)} needs dense attention; got {pattern}")
    backend = definition if mask.ndim == 3 else choose("attention", q, k, v, mask, pattern=pattern)
    return backend.attention(q, k, v, mask, pattern=pattern, span=span)


def received(q: Tensor, k: Tensor, mask: Tensor, *, pattern: Pattern = "dense", span: int = 0) -> Tensor:
    """(B, N) the mean attention that each token gets, over heads and real queries other than CLS; see `attention`."""
    return definition.received(q, k, mask, pattern=pattern, span=span)


def blocks(
    x: Tensor,
    mask: Tensor,
    stack: Sequence[BlockWeights],
    *,
    num_heads: int,
    pattern: Pattern = "dense",
    span: int = 0,
    eps: float = 1e-5,
) -> Tensor:
    """Tokens x (B, N, D) through pre-norm blocks of SFT's style, one after another -> (B, N, D).

    `mask` (B, N) as in `attention`. There is no dropout. Native: float32, D and the MLP's width up to 128, blocks of
    one shape, and what `attention` supports.
    """
    options = {"num_heads": num_heads, "pattern": pattern}
    backend = choose("blocks", x, mask, stack, **options)
    return backend.blocks(x, mask, stack, **options, span=span, eps=eps)


def embedding(x: Tensor, weight: Tensor, bias: Tensor, cls: Tensor, position: Tensor) -> Tensor:
    """Features x (B, N, F) to tokens (B, 1 + N, D): CLS, and projections, each with its row of `position`.

    `weight` (D, F) and `bias` (D) as nn.Linear has them, `cls` (D), `position` (at least 1 + N, D). Native: float32,
    F up to 384, D up to 128, no gradient of x.
    """
    backend = choose("embedding", x, weight, bias, cls, position)
    return backend.embedding(x, weight, bias, cls, position)


def window_index(mask: Tensor, *, keep: int | None = None, stride: int | None = None) -> Tensor:
    """The window (B, N) of each token under `mask` (B, N), counted from 0, never less than that of the token before it.

    `keep` cuts each sample's real length into that many windows of equal length (fewer tokens than windows: one each);
    `stride` makes windows of that many real tokens. Give one of them. A token that is not real has some window.
    """
    return choose("window_index", mask).window_index(mask, keep=keep, stride=stride)


def window_means(x: Tensor, weight: Tensor, index: Tensor, count: int) -> Tensor:
    """Means of tokens x (B, N, D), weighted by `weight` (B, N), over `count` windows -> (B, K, D).

    `index` (B, N): the window of each token, 0 .. K-1, never less than that of the token before it. A window without
    weight gives 0. Triton sums in one order, so that a training can be repeated to the bit.
    """
    return choose("window_means", x, weight, index).window_means(x, weight, index, count)
