"""The weights that a fused block reads instead of calling modules."""

from typing import NamedTuple

from torch import Tensor


class BlockWeights(NamedTuple):
    """The weights of one pre-norm block of SFT's style, in the layout of nn.Linear and nn.LayerNorm.

    D channels of a token, E in the MLP. Without an MLP its weights are None.
    """

    qkv: Tensor
    """(3 D, D)"""
    qkv_bias: Tensor
    """(3 D)"""
    out: Tensor
    """(D, D)"""
    out_bias: Tensor
    """(D)"""
    norm: Tensor | None = None
    """(D) of the MLP's norm; attention's has no weights"""
    norm_bias: Tensor | None = None
    """(D)"""
    first: Tensor | None = None
    """(E, D)"""
    first_bias: Tensor | None = None
    """(E)"""
    second: Tensor | None = None
    """(D, E)"""
    second_bias: Tensor | None = None
    """(D)"""

    @property
    def sizes(self) -> tuple[int, int]:
        """D, and E (0 without an MLP)."""
        return len(self.out), 0 if self.first is None else len(self.first)
