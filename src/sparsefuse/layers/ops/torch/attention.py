"""Sparse self-attention, computed by blocks: no N x N matrix is ever formed.

Two bidirectional patterns of Child et al. 2019 (`strided`, `fixed`) and one that reads what is far by its means
(`local`, close to LongT5's transient global attention, Guo et al. 2022). The first token is CLS and is global: it
attends to every token and every token to it (cost N). The others are numbered 0 .. N-1, `span` is l:

  strided   i sees j  if |i - j| < l,  or  i = j mod l
  fixed     i sees j  if both are in one block of l,  or  j is among the last c + 1 of its block
  local     i sees j  if j is in i's block of l or within l / 2 of that block;  and 15 means of the clip's parts

`fixed` with l = 32, c = 8 is what the layer named in SFT's released code is meant to compute (there it runs dense).
"""

import torch
from torch import Tensor

from sparsefuse.layers.attention import Attended, dense
from sparsefuse.layers.grouped import attend, received
from sparsefuse.layers.ops.torch.groups import Fixed, Group, Local, Near, Residue
from sparsefuse.layers.ops.tracing import exporting


def strided(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
    """Own neighbourhood and every `span`-th token; shapes as in `attention.dense`. Work: N (3 l + N / l)."""
    return _with_cls([Near(mask, span), Residue(mask, span)], q, k, v, mask, want_received)


def fixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
    """Own block and the last tokens of every block; shapes as in `attention.dense`. Work: N (l + 9 N / l)."""
    return _with_cls([Fixed(mask, span)], q, k, v, mask, want_received)


def local(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, span: int, want_received: bool = False) -> Attended:
    """Own surroundings and means of the whole clip; shapes as in `attention.dense`. Work: N (2 l + 16).

    The means are of windows of equal length (`pool.windows`); a clip of one block needs none. `span` must be
    even.
    """
    if span % 2:
        raise ValueError(f"the span of local attention must be even; got {span}")
    if not exporting() and q.shape[2] - 1 <= span:
        return dense(q, k, v, mask, want_received=want_received)  # one block: the same, and cheaper
    return _with_cls([Local(mask, span)], q, k, v, mask, want_received)


PATTERNS = {"dense": dense, "strided": strided, "fixed": fixed, "local": local}


def _with_cls(groups: list[Group], q: Tensor, k: Tensor, v: Tensor, mask: Tensor, want_received: bool) -> Attended:
    """Tokens attend by groups, CLS to everything."""
    cls = dense(q[:, :, :1], k, v, mask).x
    queries, keys, values = (t.transpose(2, 3) for t in (q[:, :, 1:], k, v))
    x = torch.cat([cls.transpose(1, 2), attend(groups, queries, keys, values, mask).permute(0, 3, 1, 2)], 1).transpose(
        1, 2
    )
    if not want_received:
        return Attended(x, None)
    asked_by = mask[:, 1:].to(torch.float32)
    asked_by = asked_by / (q.shape[1] * asked_by.sum(1, keepdim=True).clamp_min(1))
    return Attended(x, received(groups, queries, keys, asked_by.to(q.dtype)))
