"""The nouns of scenes: one sample, a batch of them, and the three splits of a run."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.files.skipped import Skip
from sparsefuse.tokens import Field


class Scene(NamedTuple):
    """One sample: pictures of one size."""

    id: str
    fields: dict[str, Tensor]
    """stream -> (H, W, F) float, normalised; a stream that the sample lacks is left out"""
    target: Tensor
    """(H, W) int64, a class or the number that is ignored; or the picture to translate to, (H, W, C) float, -1 to 1
    (beyond it only where depth is beyond that of training), NaN where no depth was measured"""


class SceneBatch(NamedTuple):
    """Samples together, smaller ones padded to the right and below."""

    ids: list[str]
    fields: dict[str, Field]
    """all streams of the run; where a sample lacks one, and in the padding, its mask is False"""
    target: Tensor
    """(B, H, W) or (B, H, W, C); padding has the number that is ignored, or 0"""
    mask: Tensor
    """(B, H, W) bool, True = a pixel of the sample; False also where its target is not known"""


class SceneDataset(Protocol):
    """One split."""

    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


class Scenes(NamedTuple):
    """The three splits, and what was measured on the training split."""

    splits: Mapping[str, SceneDataset]
    """train, valid, test"""
    streams: dict[str, PictureStream]
    """as they are read: no kind is auto, no unit of a depth 0"""
    channels: dict[str, int]
    """stream -> F"""
    classes: list[str]
    """of a pixel; empty in translation"""
    outputs: int
    """classes, or channels of the target"""
    target: PictureStream
    """as it is read, in translation"""
    stats: dict[str, tuple[Tensor, Tensor]]
    """stream -> mean and standard deviation (F,) that `Scene.fields` are normalised with; those of depth are of
    measured pixels, and its channel of validity stays 0 or 1"""
    size: tuple[int, int]
    """rows and columns: medians of the training split"""
    fingerprints: dict[str, Fingerprint]
    skips: list[Skip]
    leaks: Sequence[str] = ()
    """what is in two splits, where data.leaks lets it pass"""
    target_stats: tuple[Tensor, Tensor] = (torch.zeros(0), torch.ones(0))
    """(C,) in translation: a target is the picture as it is read (of depth, metres), less the first, over the second"""
