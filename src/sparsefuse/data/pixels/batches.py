"""Batches of scenes: which samples go together, and how smaller pictures are padded."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from sparsefuse.data.pixels.scenes import Scene, SceneBatch
from sparsefuse.tokens import Field


def collate(scenes: Sequence[Scene], channels: Mapping[str, int], ignore: int) -> SceneBatch:
    """Pads scenes to the largest height and width, to the right and below; padding is 0 and masked, of labels `ignore`.

    `channels` (stream -> F) names the run's streams. Where a target picture is NaN, nothing is known: the mask is False
    and the target 0.
    """
    height, width = (max(scene.target.shape[axis] for scene in scenes) for axis in (0, 1))
    labels = scenes[0].target.ndim == 2
    mask = torch.zeros(len(scenes), height, width, dtype=torch.bool)
    target = mask.new_full(
        (*mask.shape, *scenes[0].target.shape[2:]), ignore if labels else 0, dtype=scenes[0].target.dtype
    )
    fields = {
        name: Field(torch.zeros(*mask.shape, channels[name]), torch.zeros_like(mask)) for name in sorted(channels)
    }
    for i, scene in enumerate(scenes):
        h, w = scene.target.shape[:2]
        known = torch.ones(h, w, dtype=torch.bool) if labels else scene.target.isfinite().all(-1)
        mask[i, :h, :w] = known
        target[i, :h, :w] = scene.target if labels else scene.target.nan_to_num(0.0)
        for name, (x, real) in fields.items():
            if name in scene.fields:
                x[i, :h, :w], real[i, :h, :w] = scene.fields[name], True
    return SceneBatch([scene.id for scene in scenes], fields, target, mask)


def batches(n: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch, each of `n` once, in an order that seed and epoch alone decide; the last may be short."""
    order = np.random.default_rng([seed, epoch]).permutation(n).tolist()
    return [order[i : i + batch_size] for i in range(0, n, batch_size)]
