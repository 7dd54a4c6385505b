"""Which pooled tokens carried the answer: a model's rollout in, relevance per pooled token and where it lies out."""

from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.explain.rollout import Rollout
from sparsefuse.layers.pool import windows
from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.layers.streams import PerStream
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State


class Pooled(NamedTuple):
    """The tokens that pooling left of one modality, those that hold anything."""

    relevance: Tensor
    """(K,) rollout from what the head reads to each of them, right after pooling"""
    start: Tensor
    """(K,) the first of the tokens that it pools"""
    stop: Tensor
    """(K,) one past the last of them"""


def pooled(model: FusionModel, rollout: Rollout, states: list[State]) -> dict[str, Pooled]:
    """Per modality of one clip (B = 1) that is pooled by itself; empty where nothing is, or only what is joined.

    `states` after the embedding and after each layer, as a probe sees them.
    """
    found = {}
    for depth, layer in enumerate(model.layers):
        if not isinstance(layer, PerStream):
            continue
        for name, block in layer.named_blocks():
            if isinstance(block, Sparsify) and name in model.modalities:
                mask = states[depth].streams[name].mask[:, 1:]
                if mask.any():
                    index, _ = windows(mask, keep=block.keep, stride=block.stride)
                    found[name] = _pooled(index[mask], rollout.depths[depth + 1][name][0, 1:])
    return found


def _pooled(index: Tensor, relevance: Tensor) -> Pooled:
    """`index` (N,) window of each token, in order."""
    kept, count = index.unique_consecutive(return_counts=True)
    stop = count.cumsum(0)
    return Pooled(relevance[kept], stop - count, stop)


def exchanged(model: FusionModel, states: list[State]) -> dict[int, dict[str, Tensor]]:
    """Layer -> modality -> (N,) bool, which tokens of one clip were another modality's (TokenFusion).

    Asked of every layer with a method `exchanged(state)` that gives (B, 1 + N) bool per stream, CLS included.
    """
    found: dict[int, dict[str, Tensor]] = {}
    for depth, layer in enumerate(model.layers):
        ask = getattr(layer, "exchanged", None)
        if ask is None:
            continue
        with torch.no_grad():
            swapped: dict[str, Tensor] = ask(states[depth])
        found[depth] = {}
        for name, tokens in swapped.items():
            mask = states[depth].streams[name].mask[0]
            if mask.any():  # a clip may lack it
                found[depth][name] = tokens[0][mask][1:]
    return found
