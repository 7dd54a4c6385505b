"""The arguments of the library's functions: `arguments.h`, field by field. Each begins with its size and version."""

from collections.abc import Sequence
from ctypes import CDLL
from struct import Struct
from typing import NamedTuple

VERSION = 1
NUM_VIEWS = 12
VIEW = 4
"""Numbers per view: address, and strides of samples, heads and tokens."""


class AttentionArguments(NamedTuple):
    """The arguments of attention."""

    kind: int
    samples: int
    heads: int
    head_dim: int
    queries: int
    keys: int
    far: int
    span: int
    threads: int
    log_weights: int
    far_log_weights: int
    row_max: int
    inv_sum: int
    views: Sequence[int]
    """flat"""

    def packed(self) -> bytes:
        return _ATTENTION.pack(_ATTENTION.size, VERSION, *self[:-1], *self.views)


class BlockArguments(NamedTuple):
    """The arguments of a stack of blocks."""

    kind: int
    depth: int
    samples: int
    length: int
    dim: int
    heads: int
    hidden: int
    far: int
    span: int
    threads: int
    saving: int
    same_far: int
    eps: float
    log_weights: int
    far_log_weights: int
    far_share: int
    activations: int
    gradients: int
    x: int
    y: int
    weights: int
    grad_out: int
    dx: int
    dweights: int

    def packed(self) -> bytes:
        return _BLOCK.pack(_BLOCK.size, VERSION, *self)


class EmbedArguments(NamedTuple):
    """The arguments of the embedding."""

    samples: int
    length: int
    features: int
    dim: int
    positions: int
    threads: int
    x: int
    y: int
    weight: int
    bias: int
    cls: int
    position: int
    grad_out: int
    d_weight: int
    d_bias: int
    d_cls: int
    d_position: int

    def packed(self) -> bytes:
        return _EMBED.pack(_EMBED.size, VERSION, *self)


_ATTENTION = Struct(f"{2 + len(AttentionArguments._fields) - 1 + NUM_VIEWS * VIEW}q")
_BLOCK = Struct("qq" + "".join("d" if name == "eps" else "q" for name in BlockArguments._fields))
_EMBED = Struct(f"{2 + len(EmbedArguments._fields)}q")


def run(library: CDLL, name: str, packed: bytes, *others: object) -> None:
    """Calls a function of the library. Raises RuntimeError if it was built for other arguments or rejects the sizes."""
    status = getattr(library, name)(packed, *others)
    if status:
        why = {1: "the library was built for other arguments", 2: "these sizes are not supported"}[status]
        raise RuntimeError(f"{name} did not run: {why}")
