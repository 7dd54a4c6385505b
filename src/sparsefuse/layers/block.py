"""Transformer blocks: tokens in, tokens out (SFT eqs. 2-3)."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers import ops
from sparsefuse.layers.causal import seen_keys
from sparsefuse.layers.heads import check_heads, heads
from sparsefuse.layers.ops import PATTERNS, Pattern
from sparsefuse.tokens import Tokens


class Attended(NamedTuple):
    """The attended tokens (B, N, D), and, if requested, the attention each token received (B, N)."""

    x: Tensor
    received: Tensor | None


class Attention(nn.Module):
    """Multi-head attention over one stream; weights as in `nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int, *, pattern: Pattern = "dense", span: int = 32):
        super().__init__()
        check_heads(dim, num_heads)
        if pattern not in PATTERNS:
            raise ValueError(unknown("attention pattern", pattern, PATTERNS))
        self.num_heads, self.span = num_heads, span
        self.pattern: Pattern = pattern
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mask: Tensor, *, want_received: bool = False) -> Attended:
        """Self-attention: x (B, N, D), mask (B, N), or (B, N, N) for the keys of each query -> (B, N, D)."""
        q, k, v = heads(self.qkv(x), 3, self.num_heads)  # (B, H, N, D/H)
        attended = ops.attention(q, k, v, mask, pattern=self.pattern, span=self.span)
        received = ops.received(q, k, mask, pattern=self.pattern, span=self.span) if want_received else None
        return Attended(self.out(attended.transpose(1, 2).flatten(2)), received)


class CrossAttention(nn.Module):
    """Multi-head attention from one stream to another; weights as in `nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        for linear in (self.q, self.kv):
            bound = (6 / (4 * dim)) ** 0.5  # Xavier initialisation of q, k and v as one matrix
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """From x (B, N, D) to source (B, N', D), mask (B, N') or (B, N, N') -> (B, N, D); always dense."""
        (q,) = heads(self.q(x), 1, self.num_heads)
        k, v = heads(self.kv(source), 2, self.num_heads)
        return self.out(ops.attention(q, k, v, mask).transpose(1, 2).flatten(2))


class Norm(nn.LayerNorm):
    """LayerNorm without parameters, as before every attention of the released SFT code."""

    def __init__(self, dim: int):
        super().__init__(dim, elementwise_affine=False)


class Mlp(nn.Sequential):
    """LayerNorm, two linear layers with an activation between (SFT's released block: ReLU, `mlp_ratio` 1).

    Without `norm` the input must be normalised already: so modalities can share the rest.
    """

    def __init__(
        self,
        dim: int,
        mlp_ratio: float,
        drop: float,
        *,
        norm: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
        eps: float = 1e-5,
    ):
        hidden = round(dim * mlp_ratio)
        first = nn.LayerNorm(dim, eps) if norm else nn.Identity()
        super().__init__(first, nn.Linear(dim, hidden), nn.Dropout(drop), activation(), nn.Linear(hidden, dim))


Style = Literal["sft", "vit", "scenic"]
VIT_EPS = 1e-12
"""What ViT's norms add to the variance, as in the checkpoints of `transformers`."""
SCENIC_EPS = 1e-6
"""The same in MBT's released code."""


def norm_and_mlp(style: Style, dim: int, mlp_ratio: float, drop: float) -> tuple[nn.LayerNorm, Mlp]:
    """The norm before attention, and the MLP: of SFT's released code, of a ViT (Dosovitskiy et al. 2021) as checkpoints
    of `transformers` have them, or as MBT's released code (scenic) has them."""
    if style == "sft":
        return Norm(dim), Mlp(dim, mlp_ratio, drop)
    eps, form = (VIT_EPS, "none") if style == "vit" else (SCENIC_EPS, "tanh")
    return nn.LayerNorm(dim, eps), Mlp(dim, mlp_ratio, drop, activation=partial(nn.GELU, form), eps=eps)


class Block(nn.Module):
    """One pre-norm transformer layer on one stream.

    `style` vit: norms with weights and GELU, as checkpoints of Vision Transformers have. `causal`: see `seen_keys`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 1.0,
        drop: float = 0.0,
        pattern: Pattern = "dense",
        span: int = 32,
        drop_path: float = 0.0,
        style: Style = "sft",
        causal: bool = False,
    ):
        super().__init__()
        self.style: Style = style
        self.causal = causal
        self.attention = Attention(dim, num_heads, pattern=pattern, span=span)
        self.norm, self.mlp = norm_and_mlp(style, dim, mlp_ratio, drop)
        self.drop = residual_drop(drop, drop_path)

    def forward(self, tokens: Tokens) -> Tokens:
        x, mask = tokens
        keys = seen_keys(mask, mask, cls_read=True) if self.causal else mask
        x = x + self.drop(self.attention(self.norm(x), keys).x)  # SFT eq. 2
        x = x + self.drop(self.mlp(x))  # SFT eq. 3
        return Tokens(x, mask)


class CrossBlock(nn.Module):
    """A transformer block whose queries come from one stream and whose keys and values from another (MulT eqs. 1-4)."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 1.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
        style: Style = "sft",
        causal: bool = False,
    ):
        super().__init__()
        self.style: Style = style
        self.causal = causal
        self.attention = CrossAttention(dim, num_heads)
        self.norm, self.mlp = norm_and_mlp(style, dim, mlp_ratio, drop)
        self.drop = residual_drop(drop, drop_path)

    def forward(self, tokens: Tokens, read: Tokens) -> Tokens:
        keys = seen_keys(tokens.mask, read.mask, cls_read=False) if self.causal else read.mask
        y = self.attention(self.norm(tokens.x), self.norm(read.x), keys)
        there = read.mask.to(y.dtype).amax(1)[:, None, None]
        x = tokens.x + self.drop(y * there)  # zero where a sample lacks the source
        return Tokens(x + self.drop(self.mlp(x)), tokens.mask)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a sample's (B, ...) branch is dropped with probability `p`.

    Kept branches are divided by 1 - p, so that the mean is the same (MBT's released code does not).
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"drop_path must be in [0, 1); got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.p
        return x * (kept / (1 - self.p)).to(x.dtype)


def residual_drop(drop: float, drop_path: float) -> nn.Module:
    """The dropout, and stochastic depth, of a residual branch."""
    return nn.Sequential(nn.Dropout(drop), DropPath(drop_path)) if drop_path else nn.Dropout(drop)
