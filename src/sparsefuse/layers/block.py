"""Transformer blocks: tokens in, tokens out (SFT eqs. 2-3)."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.errors import unknown
from sparsefuse.layers.attention import are_few, narrow
from sparsefuse.layers.few import few
from sparsefuse.layers.heads import by_channel, check_heads, heads, heard
from sparsefuse.layers.ops.native import attention as native
from sparsefuse.layers.ops.native import block as native_block
from sparsefuse.layers.ops.native.attention import Options
from sparsefuse.layers.ops.native.block import Parts
from sparsefuse.layers.ops.torch.attention import PATTERNS
from sparsefuse.layers.ops.tracing import eager
from sparsefuse.layers.windowed import fits, windowed
from sparsefuse.tokens import State, Tokens

Pattern = Literal["dense", "strided", "fixed", "local"]


class Result(NamedTuple):
    """What attention gives: the attended tokens (B, N, D), and the attention each token received (B, N) if asked."""

    x: Tensor
    received: Tensor | None


class Attention(nn.Module):
    """Multi-head attention over one stream; weights as in `nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int, *, pattern: Pattern = "dense", span: int = 32):
        super().__init__()
        check_heads(dim, num_heads)
        if pattern not in PATTERNS:
            raise ValueError(unknown("attention pattern", pattern, PATTERNS))
        self.num_heads, self.pattern, self.span = num_heads, pattern, span
        self.width = dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mask: Tensor, *, want_received: bool = False) -> Result:
        """Self-attention: x (B, N, D), mask (B, N) -> (B, N, D)."""
        lean = eager(x) and not heard(self.qkv, self.out)
        if lean and self.pattern != "fixed" and not want_received and native.possible(x, mask, self.width):
            attended = native.attended(x, mask, self.qkv, self.out, self.num_heads, self.pattern, self.span)
            return Result(attended, None)
        if lean and self.pattern == "local" and not want_received and fits(x, mask, self.span):
            return Result(windowed(x, mask, self.qkv, self.out, self.num_heads, self.span), None)
        lean = lean and narrow(x.shape[2] // self.num_heads)
        if lean and self.pattern == "dense" and not want_received and are_few(x, mask):
            return Result(few(x, mask, self.qkv, self.out, self.num_heads), None)
        q, k, v = self._by_channel(x) if lean else heads(self.qkv(x), 3, self.num_heads)
        attended = PATTERNS[self.pattern](q, k, v, mask, span=self.span, want_received=want_received)
        return Result(self.out(attended.x.transpose(1, 2).flatten(2)), attended.received)

    def _by_channel(self, x: Tensor) -> tuple[Tensor, ...]:
        """`heads` of the projection, of which tokens lie last in memory."""
        weight, bias = (by_channel(t, 3, self.num_heads) for t in (self.qkv.weight, self.qkv.bias[:, None]))
        parts = torch.addmm(bias, weight, x.flatten(0, 1).T).view(3, self.width, self.num_heads, *x.shape[:2])
        return parts.permute(0, 3, 2, 4, 1).unbind(0)


class CrossAttention(nn.Module):
    """Multi-head attention from one stream to another; weights as in `nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        for linear in (self.q, self.kv):
            bound = (6 / (4 * dim)) ** 0.5  # Xavier's for q, k and v as one matrix
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        """From x (B, N, D) to source (B, N', D), mask (B, N') -> (B, N, D); always dense."""
        (q,) = heads(self.q(x), 1, self.num_heads)
        k, v = heads(self.kv(source), 2, self.num_heads)
        return self.out(PATTERNS["dense"](q, k, v, mask).x.transpose(1, 2).flatten(2))


class Norm(nn.LayerNorm):
    """LayerNorm without parameters, as before every attention of the released SFT code."""

    def __init__(self, dim: int):
        super().__init__(dim, elementwise_affine=False)


class Mlp(nn.Sequential):
    """LayerNorm, two linear layers with an activation between (SFT's released block: ReLU, `mlp_ratio` 1).

    Without `norm` the tokens come in normalised: so modalities can share the rest.
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


Style = Literal["sft", "vit"]
VIT_EPS = 1e-12
"""What ViT's norms add to the variance, as in the checkpoints of `transformers`."""


def parts(style: Style, dim: int, mlp_ratio: float, drop: float) -> tuple[nn.LayerNorm, Mlp]:
    """The norm before attention, and the MLP: SFT's released ones, or those of a ViT (Dosovitskiy et al. 2021)."""
    if style == "sft":
        return Norm(dim), Mlp(dim, mlp_ratio, drop)
    return nn.LayerNorm(dim, VIT_EPS), Mlp(dim, mlp_ratio, drop, activation=nn.GELU, eps=VIT_EPS)


class Block(nn.Module):
    """One pre-norm transformer layer on one stream.

    `style` vit: norms with weights and GELU, as checkpoints of Vision Transformers have.
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
    ):
        super().__init__()
        self.style: Style = style
        self.attention = Attention(dim, num_heads, pattern=pattern, span=span)
        self.norm, self.mlp = parts(style, dim, mlp_ratio, drop)
        self.drop = residual_drop(drop, drop_path)

    def forward(self, tokens: Tokens) -> Tokens:
        x, mask = tokens
        if self.style == "sft" and (y := whole(x, mask, self.pieces)) is not None:
            return Tokens(y, mask)
        x = x + self.drop(self.attention(self.norm(x), mask).x)  # SFT eq. 2
        x = x + self.drop(self.mlp(x))  # SFT eq. 3
        return Tokens(x, mask)

    @property
    def pieces(self) -> "Pieces":
        """What it is made of."""
        return Pieces(self.norm, self.attention, self.drop, self.mlp)


class Pieces(NamedTuple):
    """Of a block of SFT's style."""

    norm: nn.LayerNorm
    attention: Attention
    drop: nn.Module
    mlp: Mlp | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """What blocks must have in common to be run by one operation."""
        attention = self.attention
        return attention.num_heads, attention.width, attention.pattern, attention.span, self.norm.eps

    @property
    def parts(self) -> Parts | None:
        """Those that hold weights; None if there is no operation for the whole."""
        norm, attention, drop, mlp = self
        if attention.pattern == "fixed" or _dropping(drop):
            return None
        if mlp is None:
            return Parts(attention.qkv, attention.out)
        second_norm, first, inner_drop, activation, second = mlp
        if second_norm.eps != norm.eps or not isinstance(activation, nn.ReLU) or _dropping(inner_drop):
            return None
        return Parts(attention.qkv, attention.out, second_norm, first, second)  # pyright: ignore[reportArgumentType]

    @property
    def without_weights(self) -> list[nn.Module]:
        """Those that hold none themselves."""
        norm, attention, drop, mlp = self
        return [norm, attention, drop, *(() if mlp is None else (mlp, mlp[2], mlp[3]))]


def whole(x: Tensor, mask: Tensor, *stack: Pieces) -> Tensor | None:
    """Blocks of SFT's style, one behind another, on x (B, N, D), by one operation; None where there is none."""
    if not eager(x):
        return None
    norm, attention, *_ = stack[0]
    parts = [parts for pieces in stack if (parts := pieces.parts) is not None]
    if len(parts) < len(stack) or len({(p.kind, q.sizes) for p, q in zip(stack, parts, strict=True)}) > 1:
        return None
    passed_over = [part for pieces in stack for part in pieces.without_weights]
    if native_block.possible(x, mask, attention.num_heads, parts, *passed_over):
        options = Options.of(mask, attention.num_heads, attention.pattern, attention.span)
        return native_block.passed(x, parts, options, norm.eps)
    return None


def _dropping(drop: nn.Module) -> bool:
    if not drop.training or (isinstance(drop, nn.Dropout) and drop.p == 0):
        return False
    return any(getattr(part, "p", 0) > 0 for part in drop.modules())


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
    ):
        super().__init__()
        self.style: Style = style
        self.attention = CrossAttention(dim, num_heads)
        self.norm, self.mlp = parts(style, dim, mlp_ratio, drop)
        self.drop = residual_drop(drop, drop_path)

    def forward(self, tokens: Tokens, read: Tokens) -> Tokens:
        y = self.attention(self.norm(tokens.x), self.norm(read.x), read.mask)
        there = read.mask.to(y.dtype).amax(1)[:, None, None]
        x = tokens.x + self.drop(y * there)  # nothing comes from what a sample lacks
        return Tokens(x + self.drop(self.mlp(x)), tokens.mask)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a sample's (B, N, D) branch is left out with probability `p`.

    What stays is divided by 1 - p, so that its mean is that of the whole branch (MBT's released code does not).
    """

    def __init__(self, p: float):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"drop_path must be in [0, 1); got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.p
        return x * (kept / (1 - self.p)).to(x.dtype)


def residual_drop(drop: float, drop_path: float) -> nn.Module:
    """What a residual branch passes through before it is added."""
    return nn.Sequential(nn.Dropout(drop), DropPath(drop_path)) if drop_path else nn.Dropout(drop)


class PerStream(nn.Module):
    """A layer that gives each named stream its own block, or all the same, and leaves the other streams as they are.

    A list, not an `nn.ModuleDict`: a modality may be called `type` or `a.b`, which are no module names.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], nn.Module], *, shared: bool = False):
        super().__init__()
        self.names = tuple(names)
        self.blocks = nn.ModuleList(make(name) for name in self.names[: 1 if shared else None])

    def forward(self, state: State) -> State:
        changed = {name: block(state.streams[name]) for name, block in self.named_blocks()}
        return state._replace(streams={**state.streams, **changed})

    def named_blocks(self) -> list[tuple[str, nn.Module]]:
        """Each stream's name with its block."""
        return [(name, self.blocks[i % len(self.blocks)]) for i, name in enumerate(self.names)]


def presence(tokens: Tokens) -> Tensor:
    """(B, 1, 1): 1 where a sample has this stream, 0 where it is missing (the weight of CLS, token 0)."""
    return tokens.mask[:, :1, None].to(tokens.x.dtype)


def sum_present(values: Tensor, weights: Tensor) -> Tensor:
    """Sum of (B, M, D) over those of M streams that a sample has, by their presence (B, M, 1) -> (B, D).

    Presence is a fraction only while mixup blends a sample with one that has other modalities: then it says how the sum
    is shared, not how large it is.
    """
    total = (values * weights).sum(1)
    return total * ((weights > 0).sum(1) / weights.sum(1).clamp_min(torch.finfo(values.dtype).tiny)).to(values.dtype)


def zero_penalty(x: Tensor) -> Tensor:
    """() zero on x's device."""
    return torch.zeros((), dtype=torch.float32, device=x.device)
