"""Layers over named streams: a state in, a state out."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sparsefuse.layers.fused import is_unmodified, may_fuse, register, run_blocks
from sparsefuse.tokens import State, Tokens


class PerStream(nn.Module):
    """A layer with a block per named stream, or one shared block; other streams are passed through.

    A list, not an `nn.ModuleDict`: a modality may be called `type` or `a.b`, which are not valid module names.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], nn.Module], *, shared: bool = False):
        super().__init__()
        self.names = tuple(names)
        self.blocks = nn.ModuleList(make(name) for name in self.names[: 1 if shared else None])

    def forward(self, state: State) -> State:
        changed = {name: run_blocks([block], state.streams[name]) for name, block in self.named_blocks()}
        return state._replace(streams={**state.streams, **changed})

    def each(self) -> list[nn.Module]:
        """The block of each of `names`."""
        return [self.blocks[i % len(self.blocks)] for i in range(len(self.names))]

    def named_blocks(self) -> list[tuple[str, nn.Module]]:
        """Each stream's name with its block."""
        return list(zip(self.names, self.each(), strict=True))


register(PerStream)


def run_layers(layers: Sequence[nn.Module], state: State) -> State:
    """Runs layers one after another; consecutive blocks of a stream may run as one operation."""
    fuse = all(may_fuse(tokens.x) for tokens in state.streams.values())
    for names, group in itertools.groupby(layers, key=lambda layer: _names(layer) if fuse else None):
        if names is None:
            for layer in group:
                state = layer(state)
            continue
        stacks = zip(*(cast(PerStream, layer).each() for layer in group), strict=True)
        streams = {name: run_blocks(blocks, state.streams[name]) for name, blocks in zip(names, stacks, strict=True)}
        state = state._replace(streams={**state.streams, **streams})
    return state


def _names(layer: nn.Module) -> tuple[str, ...] | None:
    """The streams of a layer that only runs a block per stream; None for any other layer."""
    return layer.names if isinstance(layer, PerStream) and is_unmodified(layer, PerStream) else None


def presence(tokens: Tokens) -> Tensor:
    """(B, 1, 1): 1 where a sample has this stream, 0 where it is missing (the weight of CLS, token 0)."""
    return tokens.mask[:, :1, None].to(tokens.x.dtype)


def sum_present(values: Tensor, weights: Tensor) -> Tensor:
    """Sum of (B, M, D) over those of M streams that a sample has, by their presence (B, M, 1) -> (B, D).

    Presence is a fraction only while mixup blends a sample with one that has other modalities: then it says how the sum
    is weighted, not how large it is.
    """
    total = (values * weights).sum(1)
    return total * ((weights > 0).sum(1) / weights.sum(1).clamp_min(torch.finfo(values.dtype).tiny)).to(values.dtype)


def zero_penalty(x: Tensor) -> Tensor:
    """() zero on x's device."""
    return torch.zeros((), dtype=torch.float32, device=x.device)
