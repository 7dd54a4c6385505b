"""The Vision Transformer's block: tokens in, tokens out (Dosovitskiy et al. 2021)."""

from torch import nn

from sparsefuse.layers.block import Attention, Mlp
from sparsefuse.tokens import Tokens

EPS = 1e-12
"""What is added to the variance in a norm, as in the checkpoints of `transformers`."""


class VitBlock(nn.Module):
    """A pre-norm layer as ViT's: both norms have weights, the MLP is four times as wide and has GELU.

    `layers.block.Block` is SFT's released one. The defaults of ViT-B are dim 768 and 12 heads.
    """

    def __init__(self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, drop: float = 0.0, eps: float = EPS):
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps)
        self.attention = Attention(dim, num_heads)
        self.mlp = Mlp(dim, mlp_ratio, drop, activation=nn.GELU, eps=eps)
        self.drop = nn.Dropout(drop)

    def forward(self, tokens: Tokens) -> Tokens:
        """Tokens (B, N, D) -> tokens (B, N, D)."""
        x, mask = tokens
        x = x + self.drop(self.attention(self.norm(x), mask).x)
        x = x + self.drop(self.mlp(x))
        return Tokens(x, mask)
