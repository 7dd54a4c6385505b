"""Sparsifies a stream: attention between its tokens, then pooling to fewer (SFT section 3.2)."""

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers.block import Attention, Norm
from sparsefuse.layers.fused import run_attention
from sparsefuse.layers.options import check_choice, per_modality
from sparsefuse.layers.pool import POOLS, Pool, Tail, pool_windows, without_tail
from sparsefuse.layers.streams import PerStream
from sparsefuse.tokens import Tokens


class Sparsify(nn.Module):
    """(B, 1 + N, D) -> (B, 1 + K, D). CLS is not pooled.

    As released, the attention has a residual and a norm but no MLP; None = pooling only.
    """

    is_block = False  # mixup does not strike after it

    def __init__(
        self,
        attention: Attention | None = None,
        *,
        drop: float = 0.0,
        pool: Pool,
        keep: int | None = None,
        stride: int | None = None,
        tail: Tail = "keep",
    ):
        super().__init__()
        check_choice("tail", tail, Tail)
        if tail == "drop" and stride is None:
            raise ValueError("tail='drop' needs stride: the windows of keep are of equal length and have no tail")
        if pool not in POOLS:
            raise ValueError(unknown("pooling", pool, POOLS))
        if pool == "attn" and attention is None:
            raise ValueError(
                "pool='attn' weighs tokens by the sparse layer's attention; it needs sparse other than 'none'"
            )
        self.attention, self.drop = attention, nn.Dropout(drop)
        self.norm = nn.Identity() if attention is None else Norm(attention.out.out_features)
        self.pool: Pool = pool
        self.keep, self.stride, self.tail = keep, stride, tail

    def forward(self, tokens: Tokens) -> Tokens:
        significance = None
        if self.attention is not None and self.pool == "attn":
            attended = self.attention(self.norm(tokens.x), tokens.mask, want_received=True)
            tokens = Tokens(tokens.x + self.drop(attended.x), tokens.mask)
            significance = attended.received[:, 1:]  # SFT eq. 12
        elif self.attention is not None:
            tokens = run_attention(self.norm, self.attention, self.drop, tokens)
        (cls, x), (cls_mask, mask) = (t.split([1, t.shape[1] - 1], 1) for t in tokens)
        mask = self.pooled(mask)
        kept = pool_windows(
            Tokens(x, mask), how=self.pool, keep=self.keep, stride=self.stride, significance=significance
        )  # SFT eq. 4
        return Tokens(torch.cat([cls, kept.x], 1), torch.cat([cls_mask, kept.mask], 1))

    def pooled(self, mask: Tensor) -> Tensor:
        """The tokens under `mask` (B, N) that are pooled: a short window at the end may be dropped."""
        return without_tail(mask, self.stride) if self.tail == "drop" and self.stride else mask


def pooling(names: tuple[str, ...], stride: int | dict[str, int] | None, how: Pool) -> list[PerStream]:
    """The layer that pools streams over windows of `stride` tokens; an empty list without a stride."""
    if stride is None:
        return []
    strides = per_modality("stride", stride, names)
    return [PerStream(names, lambda name: Sparsify(pool=how, stride=strides[name]))]
