"""Sparse self-attention, computed by blocks: no N x N matrix is ever formed.

Two bidirectional patterns of Child et al. 2019 (`strided`, `fixed`) and one that reads distant blocks by their means
(`local`, close to LongT5's transient global attention, Guo et al. 2022). The first token is CLS and is global: it
attends to every token and every token to it (cost N). The others are numbered 0 .. N-1, `span` is l:

  strided   i sees j  if |i - j| < l,  or  i = j mod l
  fixed     i sees j  if both are in one block of l,  or  j is among the last c + 1 of its block
  local     i sees j  if j is in i's block of l or within l / 2 of that block;  and the mean of every other block

`fixed` with l = 32, c = 8 is what the layer named in SFT's released code is meant to compute (there it runs dense).
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.attention import MASKED, Attended, dense, key_bias
from sparsefuse.layers.pool import num_windows
from sparsefuse.layers.tracing import exporting

EXPRESSIVITY = 8  # c of the fixed pattern, as released
CACHED = 2**20
"""Scores that a processor's cache holds: above it samples go one after another, two and a half times as fast."""


def _by_cache(pattern: Callable[..., Attended]) -> Callable[..., Attended]:
    """Runs a pattern that forms all its scores at once on as many samples at a time as fit into the cache."""

    @functools.wraps(pattern)
    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
        if torch.compiler.is_compiling() or q.device.type != "cpu":
            return pattern(q, k, v, mask, span=span, want_received=want_received)
        scores = q.shape[1] * q.shape[2] * (3 * span + q.shape[2] // span)  # of one sample, at most
        several = (t.split(max(CACHED // scores, 1)) for t in (q, k, v, mask))
        found = [pattern(*part, span=span, want_received=want_received) for part in zip(*several, strict=True)]
        received = torch.cat([part.received for part in found if part.received is not None]) if want_received else None
        return Attended(torch.cat([part.x for part in found]), received) if len(found) > 1 else found[0]

    return run


@_by_cache
def strided(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
    """Own neighbourhood and every `span`-th token; shapes as in `attention.dense`. Work: N (3 l + N / l)."""
    blocks = _Blocks(q, k, v, mask, span)
    reach = torch.arange(3 * span, device=q.device) - span - torch.arange(span, device=q.device)[:, None]
    # Biases have no heads: whatever is masked is masked there, before they meet the larger scores.
    near_bias = _with_neighbours(blocks.bias[..., None], MASKED).transpose(-1, -2)  # (B, 1, G, 1, 3l)
    near_bias = near_bias.masked_fill(reach.abs() >= span, MASKED)  # (B, 1, G, l, 3l)
    near = blocks.score(_with_neighbours(blocks.k)) + near_bias  # (B, H, G, l, 3l)
    own = torch.eye(blocks.k.shape[2], dtype=torch.bool, device=q.device)[:, None, :]  # a token sees itself once
    far_bias = blocks.bias.transpose(2, 3)[:, :, None].masked_fill(own, MASKED)
    far = (blocks.q.transpose(2, 3) @ blocks.k.transpose(2, 3).transpose(-1, -2)).transpose(2, 3)  # (B, H, G, l, G)
    weights = blocks.softmax(near, far + far_bias)
    x = weights.near @ _with_neighbours(blocks.v)
    x = x + (weights.far.transpose(2, 3) @ blocks.v.transpose(2, 3)).transpose(2, 3)
    if not want_received:
        return blocks.finish(x, weights.cls, None)
    near_sum, far_sum = blocks.asked(weights.near), blocks.by_real_queries(weights.far).sum((1, 2))
    before, here, after = near_sum.split(span, dim=-1)  # (B, G, l) each: keys of the block before, this one, the next
    received = here + _shift(before, -1, 1) + _shift(after, 1, 1) + far_sum.transpose(-1, -2)
    return blocks.finish(x, weights.cls, received)


@_by_cache
def fixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
    """Own block and the last tokens of every block; shapes as in `attention.dense`. Work: N (l + 9 N / l)."""
    blocks = _Blocks(q, k, v, mask, span)
    last = slice(max(span - EXPRESSIVITY - 1, 0), span)
    near = blocks.score(blocks.k) + blocks.bias.unsqueeze(3)  # (B, H, G, l, l)
    summary_k, summary_v = (t[:, :, :, last].flatten(2, 3).unsqueeze(2) for t in (blocks.k, blocks.v))
    summary_bias = blocks.bias[:, :, :, last]
    per_block = summary_bias.shape[-1]
    groups = torch.arange(blocks.k.shape[2], device=q.device)
    own = groups[:, None] == groups.repeat_interleave(per_block)[None]  # already among the near keys
    far_bias = summary_bias.flatten(2)[:, :, None, None].masked_fill(own[:, None], MASKED)
    weights = blocks.softmax(near, blocks.score(summary_k) + far_bias)  # far: (B, H, G, l, G * 9)
    x = weights.near @ blocks.v + weights.far @ summary_v
    if not want_received:
        return blocks.finish(x, weights.cls, None)
    received = blocks.asked(weights.near)  # (B, G, l)
    far_sum = blocks.asked(weights.far).sum(1).unflatten(-1, (-1, per_block))  # (B, G, 9)
    pad = far_sum.new_zeros(*far_sum.shape[:2], span - per_block)
    return blocks.finish(x, weights.cls, received + torch.cat([pad, far_sum], -1))


def local(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
    """Own surroundings and the means of the other blocks; shapes as in `attention.dense`. Work: N (2 l + N / l).

    A block's mean is taken over its real tokens, by their weight, and counts as one key. `span` must be even.
    """
    length = q.shape[2] - 1
    if length <= span and not exporting():
        return dense(q, k, v, mask, want_received=want_received)  # one block: the same, and cheaper
    seen = _Seen(mask, span)
    keys, values = seen(k), seen(v)  # (B G, H, 1 + 2 l + G, D/H)
    cls, tokens = q.split([1, length], 2)
    asking = seen.cut(tokens.transpose(1, 2)).flatten(0, 1).transpose(1, 2)  # (B G, H, l, D/H)
    bias = key_bias(seen.weight, q.dtype).flatten(0, 1)[:, None, None]
    x = F.scaled_dot_product_attention(asking, keys, values, attn_mask=bias).transpose(1, 2)
    x = x.unflatten(0, (q.shape[0], -1)).flatten(1, 2)[:, :length].transpose(1, 2)  # (B, H, N, D/H)
    x = torch.cat([dense(cls, k, v, mask).x, x], 2)
    if not want_received:
        return Attended(x, None)
    weights = (asking @ keys.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)
    return Attended(x, seen.received(weights.unflatten(0, (q.shape[0], -1))))


PATTERNS = {"dense": dense, "strided": strided, "fixed": fixed, "local": local}


class _Seen:
    """What a block of l tokens sees: CLS, half a block before it, itself, half a block after; the means of G blocks."""

    def __init__(self, mask: Tensor, span: int):
        if span % 2:
            raise ValueError(f"the span of local attention must be even; got {span}")
        self.span, self.count = span, num_windows(mask.shape[1] - 1, span)
        self.length = mask.shape[1] - 1
        weight = mask.to(torch.float32)
        self.blocks = self.cut(weight[:, 1:])  # (B, G, l)
        total = self.blocks.sum(2, keepdim=True)
        self.share = self.blocks / total.clamp_min(torch.finfo(total.dtype).tiny)  # of a token in its block's mean
        others = 1 - torch.eye(self.count, dtype=weight.dtype, device=mask.device)
        far = self.blocks.amax(2)[:, None] * others  # (B, G, G)
        self.weight = torch.cat([self._cls(weight[:, :1]), self._near(weight[:, 1:]), far], 2)  # (B, G, 1 + 2 l + G)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, H, 1 + N, D/H) keys or values -> (B G, H, 1 + 2 l + G, D/H)."""
        cls, tokens = x.transpose(1, 2).split([1, self.length], 1)
        means = (self.cut(tokens) * self.share[..., None, None].to(x.dtype)).sum(2)  # (B, G, H, D/H)
        far = means[:, None].expand(-1, self.count, -1, -1, -1)
        return torch.cat([self._cls(cls), self._near(tokens), far], 2).flatten(0, 1).transpose(1, 2)

    def cut(self, x: Tensor) -> Tensor:
        """(B, N, ...) -> (B, G, l, ...), the last block filled up."""
        return self._filled(x, 0).unflatten(1, (self.count, self.span))

    def received(self, weights: Tensor) -> Tensor:
        """Attention weights (B, G, H, l, 1 + 2 l + G) -> (B, 1 + N) what each token gets, as `Attended.received`."""
        asked_by = self.blocks.to(weights.dtype)[:, :, None, :, None]
        given = (weights * asked_by).sum(3).mean(2) / asked_by.sum((1, 3)).clamp_min(1)  # (B, G, 1 + 2 l + G)
        cls, near, far = given.split([1, 2 * self.span, self.count], 2)
        halves = given.new_zeros(given.shape[0], 2 * self.count + 2, self.span // 2)
        for place, part in enumerate(near.unflatten(2, (4, -1)).unbind(2)):
            # Half-block `place` of what block g sees is half-block 2 g + place, counted from half a block before all.
            halves[:, place : place + 2 * self.count : 2] += part
        tokens = halves[:, 1:-1].flatten(1) + (far.sum(1)[:, :, None] * self.share.to(far.dtype)).flatten(1)
        return torch.cat([cls.sum(1), tokens[:, : self.length]], 1)

    def _cls(self, x: Tensor) -> Tensor:
        """(B, 1, ...) -> (B, G, 1, ...)."""
        return x[:, None].expand(-1, self.count, *[-1] * (x.dim() - 1))

    def _near(self, x: Tensor) -> Tensor:
        """(B, N, ...) -> (B, G, 2 l, ...): pairs of half-blocks, each pair once as what follows and what precedes."""
        pairs = self._filled(x, self.span // 2).unflatten(1, (self.count + 1, self.span))
        return torch.cat([pairs.narrow(1, 0, self.count), pairs.narrow(1, 1, self.count)], 2)

    def _filled(self, x: Tensor, before: int) -> Tensor:
        """Zeros up to a whole block after the end, and `before` more on both sides."""
        after = before + self.count * self.span - self.length
        return F.pad(x, [0, 0] * (x.dim() - 2) + [before, after])


class _Weights:
    """Attention weights of one softmax over three groups of keys."""

    def __init__(self, logits: Tensor, near: int):
        # One split: three slices would each fill a tensor of the whole size with zeros on the way back.
        self.cls, self.near, self.far = logits.softmax(-1).split([1, near, logits.shape[-1] - 1 - near], -1)


class _Blocks:
    """Queries, keys, values and key biases of all tokens but CLS, cut into G blocks of l; CLS apart."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, span: int):
        self.whole = (q, k, v, mask)
        self.length = q.shape[2] - 1
        bias = key_bias(mask, q.dtype)[:, None]  # (B, 1, 1 + N)
        self.cls_k, self.cls_v, self.cls_bias = k[:, :, None, :1], v[:, :, None, :1], bias[..., :1]
        self.q = _cut(q[:, :, 1:] * q.shape[-1] ** -0.5, span)  # (B, H, G, l, D/H)
        self.k, self.v = _cut(k[:, :, 1:], span), _cut(v[:, :, 1:], span)
        self.bias = _cut(bias[..., 1:, None], span, fill=MASKED)[..., 0]  # (B, 1, G, l)
        self.real = _cut(mask.to(q.dtype)[:, None, 1:, None], span)  # (B, 1, G, l, 1)

    def score(self, keys: Tensor) -> Tensor:
        return self.q @ keys.transpose(-1, -2)

    def softmax(self, near: Tensor, far: Tensor) -> _Weights:
        cls = self.score(self.cls_k) + self.cls_bias[:, :, None, None]
        return _Weights(torch.cat([cls, near, far], -1), near.shape[-1])

    def by_real_queries(self, weights: Tensor) -> Tensor:
        """Weights (B, H, G, l, keys) with padded queries silenced, divided so that sums become means over queries."""
        queries = self.real.sum((2, 3), keepdim=True).clamp_min(1)
        return weights * self.real / (queries * weights.shape[1])

    def asked(self, weights: Tensor) -> Tensor:
        """(B, G, keys): attention given to each key by the block's queries, over heads."""
        return self.by_real_queries(weights).sum((1, 3))

    def finish(self, x: Tensor, cls_weights: Tensor, received: Tensor | None) -> Attended:
        """Joins CLS (which sees everything) with the blocks (B, H, G, l, D/H), and drops their padding."""
        q, k, v, mask = self.whole
        x = (x + cls_weights * self.cls_v).flatten(2, 3)[:, :, : self.length]
        x = torch.cat([dense(q[:, :, :1], k, v, mask).x, x], 2)
        if received is None:
            return Attended(x, None)
        cls_received = self.by_real_queries(cls_weights).sum((1, 2, 3))  # (B, 1)
        return Attended(x, torch.cat([cls_received, received.flatten(1)[:, : self.length]], 1))


def _cut(x: Tensor, span: int, fill: float = 0.0) -> Tensor:
    """(B, H, N, D) -> (B, H, G, l, D), the last block filled up."""
    count = num_windows(x.shape[2], span)
    filled = F.pad(x, (0, 0, 0, count * span - x.shape[2]), value=fill)
    return filled.unflatten(2, (count, span))


def _shift(blocks: Tensor, by: int, dim: int, fill: float = 0.0) -> Tensor:
    """Moves blocks along `dim` by one place (+1: each place holds the block before it); the gap holds `fill`.

    Joins first and cuts then: a size of count - 1 would tie an exported model to the example's number of blocks.
    """
    gap = torch.full_like(blocks.narrow(dim, 0, 1), fill)
    count = blocks.shape[dim]
    if by > 0:
        return torch.cat([gap, blocks], dim).narrow(dim, 0, count)
    return torch.cat([blocks, gap], dim).narrow(dim, 1, count)


def _with_neighbours(blocks: Tensor, fill: float = 0.0) -> Tensor:
    """(B, H, G, l, D) -> (B, H, G, 3l, D): the block before, the block, the block after; `fill` beyond the ends."""
    return torch.cat([_shift(blocks, 1, 2, fill), blocks, _shift(blocks, -1, 2, fill)], 3)
