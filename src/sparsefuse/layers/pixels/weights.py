"""The linear layers, convolutions and norms of all layers on pixels, with the weights they start from."""

import math

from torch import nn

EPS = 1e-6
"""What norms add to the variance, as released."""


def linear(dim_in: int, dim: int) -> nn.Linear:
    """Weights from N(0, 0.02), as Vision Transformers have them; biases of 0."""
    made = nn.Linear(dim_in, dim)
    nn.init.trunc_normal_(made.weight, std=0.02)
    nn.init.zeros_(made.bias)
    return made


def conv(dim_in: int, dim: int, kernel: int, stride: int = 1, *, padding: int = 0, groups: int = 1) -> nn.Conv2d:
    """Weights that keep the variance of what flows back (He et al. 2015); biases of 0."""
    made = nn.Conv2d(dim_in, dim, kernel, stride, padding, groups=groups)
    nn.init.normal_(made.weight, std=math.sqrt(2 * groups / (kernel**2 * dim)))
    nn.init.zeros_(made.bias)  # pyright: ignore[reportArgumentType]
    return made


def norm(dim: int) -> nn.LayerNorm:
    """A LayerNorm over the channels of a token."""
    return nn.LayerNorm(dim, EPS)
