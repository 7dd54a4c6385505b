"""Layers one behind another, several at once where that is one operation."""

from collections.abc import Sequence

from torch import nn

from sparsefuse.layers.block import Block, PerStream, whole
from sparsefuse.layers.heads import heard
from sparsefuse.layers.ops.tracing import eager
from sparsefuse.tokens import State, Tokens


def leading(layers: Sequence[nn.Module], state: State) -> tuple[State, int]:
    """The state behind the first of `layers`, and behind how many: as many as go at once, at least one."""
    stacks = _stacks(layers) if all(eager(tokens.x) for tokens in state.streams.values()) else {}
    streams = {}
    for name, blocks in stacks.items():
        x, mask = tokens = state.streams[name]
        y = whole(x, mask, *(block.pieces for block in blocks))
        if y is None and not streams:
            break
        streams[name] = _one_by_one(blocks, tokens) if y is None else Tokens(y, mask)
    if streams:
        return state._replace(streams={**state.streams, **streams}), len(next(iter(stacks.values())))
    return layers[0](state), 1


def _stacks(layers: Sequence[nn.Module]) -> dict[str, list[Block]]:
    """The blocks of SFT's style that each stream passes in the first layers, if those are more than one."""
    stacks: dict[str, list[Block]] = {}
    for layer in layers:
        if type(layer) is not PerStream or not _plain(layer) or (stacks and layer.names != tuple(stacks)):
            break
        for name, block in layer.named_blocks():
            assert isinstance(block, Block)
            stacks.setdefault(name, []).append(block)
    return stacks if any(len(blocks) > 1 for blocks in stacks.values()) else {}


def _plain(layer: PerStream) -> bool:
    """Whether a layer is nothing but blocks of SFT's style, to which nobody listens."""
    blocks = list(layer.blocks)
    alone = layer._compiled_call_impl is None and not heard(layer, *blocks)
    return alone and all(type(block) is Block and block.style == "sft" for block in blocks)


def _one_by_one(blocks: Sequence[Block], tokens: Tokens) -> Tokens:
    for block in blocks:
        tokens = block(tokens)
    return tokens
