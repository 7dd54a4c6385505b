"""Relevance of pooled tokens, and which tokens they pool; and which tokens were exchanged."""

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
    """The pooled tokens of one modality, without empty windows."""

    relevance: Tensor
    """(K,) rollout from the head's input to each of them, right after pooling"""
    start: Tensor
    """(K,) the first of the tokens that it pools"""
    stop: Tensor
    """(K,) one past the last of them"""


def pooled(model: FusionModel, rollout: Rollout, states: list[State]) -> dict[str, Pooled]:
    """Per modality of one clip (B = 1) that is pooled by itself; empty where nothing is, or only what is joined.

    `states` after the embedding and after each layer, as passed to a probe.
    """
    by_modality = {}
    for depth, layer in enumerate(model.layers):
        if not isinstance(layer, PerStream):
            continue
        for name, block in layer.named_blocks():
            if isinstance(block, Sparsify) and name in model.modalities:
                mask = block.pooled(states[depth].streams[name].mask[:, 1:])
                if mask.any():
                    index, _ = windows(mask, keep=block.keep, stride=block.stride)
                    by_modality[name] = _pooled(index[mask], rollout.depths[depth + 1][name][0, 1:])
    return by_modality


def _pooled(index: Tensor, relevance: Tensor) -> Pooled:
    """`index` (N,) window of each token, in order."""
    kept, count = index.unique_consecutive(return_counts=True)
    stop = count.cumsum(0)
    return Pooled(relevance[kept].cpu(), (stop - count).cpu(), stop.cpu())


def exchanged(model: FusionModel, states: list[State]) -> dict[int, dict[str, Tensor]]:
    """Layer -> modality -> (N,) bool, which tokens of one clip were another modality's (TokenFusion).

    From every layer with a method `exchanged(state)` that returns (B, 1 + N) bool per stream, CLS included.
    """
    by_depth: dict[int, dict[str, Tensor]] = {}
    for depth, layer in enumerate(model.layers):
        method = getattr(layer, "exchanged", None)
        if method is None:
            continue
        with torch.no_grad():
            swapped: dict[str, Tensor] = method(states[depth])
        by_depth[depth] = {}
        for name, tokens in swapped.items():
            mask = states[depth].streams[name].mask[0]
            if mask.any():  # a clip may lack it
                by_depth[depth][name] = tokens[0][mask][1:].cpu()
    return by_depth
