"""A block of SegFormer's encoder: attention over reduced keys, then an MLP with a convolution in it."""

import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.layers.block import DropPath
from sparsefuse.layers.heads import check_heads, heads
from sparsefuse.layers.pixels.field import any_of_windows, convolve, windows, zeroed
from sparsefuse.layers.pixels.weights import conv, linear, norm
from sparsefuse.tokens import Field, Tokens


class Norms(nn.Module):
    """The norms of a block. They stand apart, for streams that share its weights and not its norms."""

    def __init__(self, dim: int, reduction: int):
        super().__init__()
        self.attention, self.mlp = norm(dim), norm(dim)
        self.keys = norm(dim) if reduction > 1 else nn.Identity()


class MixBlock(nn.Module):
    """Attention and MLP, each around a residual; its norms come with the field."""

    def __init__(self, dim: int, num_heads: int, reduction: int, *, mlp_ratio: int = 4, drop_path: float = 0.0):
        super().__init__()
        self.attention = ReducedAttention(dim, num_heads, reduction)
        self.mlp = MixMlp(dim, mlp_ratio * dim)
        self.drop = DropPath(drop_path)

    def forward(self, field: Field, norms: Norms, read: Tensor | None = None) -> Field:
        """`read` (B, H, W, D) is what attention reads; the normalised field if None."""
        x, mask = field
        y = Field(norms.attention(x) if read is None else read, mask)
        x = x + self.drop(self.attention(y.tokens().x, self.attention.keys(y, norms)).view_as(x))
        return Field(x + self.drop(self.mlp(Field(norms.mlp(x), mask))), mask)


class ReducedAttention(nn.Module):
    """Attention in which every `reduction` x `reduction` tokens are one key (SegFormer eq. 2)."""

    def __init__(self, dim: int, num_heads: int, reduction: int):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads, self.reduction = num_heads, reduction
        self.q, self.kv, self.out = linear(dim, dim), linear(dim, 2 * dim), linear(dim, dim)
        self.reduce = conv(dim, dim, reduction, reduction) if reduction > 1 else None

    def keys(self, field: Field, norms: Norms) -> Tokens:
        """What is attended to: (B, H, W, D) -> (B, H W / reduction^2, D). Unlike the released code, which leaves them
        out, tokens that fill no window are a key, too."""
        if self.reduce is None:
            return field.tokens()
        field = windows(field, self.reduction)
        x = norms.keys(convolve(self.reduce, zeroed(field)))
        return Field(x, any_of_windows(field.mask, self.reduction)).tokens()

    def forward(self, x: Tensor, keys: Tokens) -> Tensor:
        """From tokens x (B, N, D) to keys (B, N', D) -> (B, N, D). Who has no key attends to them all: what comes of it
        is not real, and finite."""
        (q,) = heads(self.q(x), 1, self.num_heads)  # (B, heads, N, D / heads)
        k, v = heads(self.kv(keys.x), 2, self.num_heads)
        mask = keys.mask | ~keys.mask.any(1, keepdim=True)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        return self.out(attended.transpose(1, 2).flatten(2))


class MixMlp(nn.Module):
    """Linear, 3 x 3 convolution of each channel, GELU, linear: the convolution tells positions (SegFormer eq. 3)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.first, self.last = linear(dim, hidden), linear(hidden, dim)
        self.depthwise = conv(hidden, hidden, 3, padding=1, groups=hidden)

    def forward(self, field: Field) -> Tensor:
        hidden = Field(self.first(field.x), field.mask)
        return self.last(F.gelu(convolve(self.depthwise, zeroed(hidden))))

    def without_grid(self, x: Tensor) -> Tensor:
        """For tokens (B, N, D) that stand nowhere in the picture."""
        return self.last(F.gelu(self.first(x)))
