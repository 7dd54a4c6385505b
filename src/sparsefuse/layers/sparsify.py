"""A stream to fewer tokens: attention to each other first, then pooling (SFT section 3.2)."""

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers.block import Attention, Norm, PerStream, Pieces, whole
from sparsefuse.layers.options import per_modality
from sparsefuse.layers.pool import POOLS, Pool, averages, pool, windows
from sparsefuse.tokens import Tokens


class Sparsify(nn.Module):
    """(B, 1 + N, D) -> (B, 1 + K, D). CLS is not pooled.

    As released, the attention has a residual and a norm but no MLP; None = pooling only.
    """

    def __init__(
        self,
        attention: Attention | None = None,
        *,
        drop: float = 0.0,
        pool: Pool,
        keep: int | None = None,
        stride: int | None = None,
    ):
        super().__init__()
        if pool not in POOLS:
            raise ValueError(unknown("pooling", pool, POOLS))
        if pool == "attn" and attention is None:
            raise ValueError(
                "pool='attn' weighs tokens by the sparse layer's attention; it needs sparse other than 'none'"
            )
        self.attention, self.drop = attention, nn.Dropout(drop)
        self.norm = nn.Identity() if attention is None else Norm(attention.out.out_features)
        self.pool: Pool = pool
        self.keep, self.stride = keep, stride

    def forward(self, tokens: Tokens) -> Tokens:
        x, mask = tokens
        significance = None
        if self.attention is not None and (y := self._whole(x, mask)) is not None:
            x = y
        elif self.attention is not None:
            attended = self.attention(self.norm(x), mask, want_received=self.pool == "attn")
            x = x + self.drop(attended.x)
            significance = None if attended.received is None else attended.received[:, 1:]  # SFT eq. 12
        return self._pooled(Tokens(x, mask), significance)  # SFT eq. 4

    def _whole(self, x: Tensor, mask: Tensor) -> Tensor | None:
        """Attention with norm and residual by one operation, where there is one."""
        if self.attention is None or not isinstance(self.norm, Norm) or self.pool == "attn":
            return None
        return whole(x, mask, Pieces(self.norm, self.attention, self.drop))

    def _pooled(self, tokens: Tokens, significance: Tensor | None) -> Tokens:
        if self.pool == "avg" and (kept := averages(tokens, keep=self.keep, stride=self.stride)):
            return kept
        (cls, x), (cls_mask, mask) = (t.split([1, t.shape[1] - 1], 1) for t in tokens)
        index, count = windows(mask, keep=self.keep, stride=self.stride)
        kept = pool(Tokens(x, mask), index, count, how=self.pool, significance=significance)
        return Tokens(torch.cat([cls, kept.x], 1), torch.cat([cls_mask, kept.mask], 1))


def pooling(names: tuple[str, ...], stride: int | dict[str, int] | None, how: Pool) -> list[PerStream]:
    """The layer that pools streams over windows of `stride` tokens; no layer if there is no stride."""
    if stride is None:
        return []
    strides = per_modality("stride", stride, names)
    return [PerStream(names, lambda name: Sparsify(pool=how, stride=strides[name]))]
