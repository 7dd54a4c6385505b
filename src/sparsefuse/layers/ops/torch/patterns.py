"""Attention over a pattern, from queries, keys, values and a key mask: dense, or block-sparse without an N x N matrix.

Two bidirectional patterns of Child et al. 2019 (`strided`, `fixed`) and one that attends to means of distant tokens
(`local`, close to LongT5's transient global attention, Guo et al. 2022). In all of them the first token is CLS and is
global: it attends to every token and every token to it (cost N). The others are numbered 0 .. N-1, `span` is l:

  strided   i attends to j  if |i - j| < l,  or  i = j mod l
  fixed     i attends to j  if both are in one block of l,  or  j is among the last c + 1 of its block
  local     i attends to j  if j is in i's block of l or within l / 2 of that block;  and 15 means of the clip's parts

`fixed` with l = 32, c = 8 is what the layer named in SFT's released code is meant to compute (there it runs dense).
Keys of all groups share one softmax. Only queries, keys and values are saved for backward; scores are recomputed.
"""

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sparsefuse.layers.ops.torch.groups import Fixed, Group, Local, Near, Residue, key_bias
from sparsefuse.layers.ops.tracing import all_real, dispatched, exporting, watched


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, pattern: str, span: int) -> Tensor:
    """See `ops.attention`."""
    if _is_dense(q, pattern, span):
        return _dense(q, k, v, mask)
    groups = GROUPS[pattern](mask, span)
    cls = _dense(q[:, :, :1], k, v, mask)
    queries, keys, values = (t.transpose(2, 3) for t in (q[:, :, 1:], k, v))
    if torch.is_grad_enabled() and not watched(q):
        x = checkpoint(_attend, groups, queries, keys, values, use_reentrant=False, preserve_rng_state=False)
    else:
        x = _attend(groups, queries, keys, values)
    assert isinstance(x, Tensor)  # (B, H, D/H, N)
    return torch.cat([cls.transpose(1, 2), x.permute(0, 3, 1, 2)], 1).transpose(1, 2)


def received(q: Tensor, k: Tensor, mask: Tensor, *, pattern: str, span: int) -> Tensor:
    """See `ops.received`."""
    query_share = mask[:, 1:].to(torch.promote_types(q.dtype, torch.float32))
    query_share = (query_share / query_share.sum(1, keepdim=True).clamp_min(1) / q.shape[1]).to(q.dtype)  # real queries
    if _is_dense(q, pattern, span):
        scores = (q[:, :, 1:] * q.shape[-1] ** -0.5) @ k.mT  # queries without CLS
        weights = (scores + key_bias(mask, q.dtype)[:, None, None]).softmax(-1)  # (B, H, N, 1 + N)
        return (weights * query_share[:, None, :, None]).sum((1, 2))
    groups, heads = GROUPS[pattern](mask, span), q.shape[1]
    weights = _weights(groups, q[:, :, 1:].transpose(2, 3), k.transpose(2, 3))
    parts = []
    for group, share in zip(groups, _by_group(groups, weights), strict=True):
        query_weights = group.cut(query_share[:, None, None].expand(-1, heads, -1, -1))  # (n, 1, L)
        parts.append(group.spread(query_weights @ share, heads).sum((1, 2)))
    return _sum(parts)


GROUPS: dict[str, Callable[[Tensor, int], list[Group]]] = {
    "strided": lambda mask, span: [Near(mask, span), Residue(mask, span)],
    "fixed": lambda mask, span: [Fixed(mask, span)],
    "local": lambda mask, span: [Local(mask, span)],
}


def _is_dense(q: Tensor, pattern: str, span: int) -> bool:
    """`local` over a single block is dense too, which is cheaper; an exported model must be valid for longer clips."""
    return pattern == "dense" or (pattern == "local" and not exporting() and q.shape[2] - 1 <= span)


def _dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    by_query = mask if mask.ndim == 3 else mask[:, None]  # (B, N or 1, N')
    bias = None if all_real(mask) else key_bias(by_query, q.dtype)[:, None]
    if dispatched():
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        return (scores if bias is None else scores + bias).softmax(-1) @ v
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))  # else the kernel materialises all scores
    return F.scaled_dot_product_attention(q, k, v, bias)


def _attend(groups: Sequence[Group], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries (B, H, D/H, N) over keys and values (B, H, D/H, 1 + N) -> (B, H, D/H, N)."""
    shares = _by_group(groups, _weights(groups, q, k))
    return _sum(
        [g.join(g.gather(v) @ share.transpose(1, 2), q.shape[1]) for g, share in zip(groups, shares, strict=True)]
    )


def _weights(groups: Sequence[Group], q: Tensor, k: Tensor) -> Tensor:
    """One softmax over the keys of all groups (B, H, G, l, sum of S)."""
    heads, q = q.shape[1], q * q.shape[2] ** -0.5
    scores = []
    for group in groups:
        products = torch.baddbmm(group.bias(heads).to(q.dtype), group.cut(q).transpose(1, 2), group.gather(k))
        scores.append(group.by_block(products, heads))
    return torch.cat(scores, -1).softmax(-1)


def _by_group(groups: Sequence[Group], weights: Tensor) -> list[Tensor]:
    """(B, H, G, l, sum of S) -> per group (n, L, S)."""
    parts = weights.split([group.size for group in groups], -1)
    return [group.by_group(part) for group, part in zip(groups, parts, strict=True)]


def _sum(parts: list[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)
