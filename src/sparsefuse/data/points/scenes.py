"""The nouns of scenes in space: one of them, a batch, and the three splits of a run.

Letters as in `layers.points.nouns`: N points, F channels, M boxes, C pictures, H rows, W columns.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from sparsefuse.config.points import Channel
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.files.skipped import Skip
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud

PICTURES = "pictures"
"""the name of their normalisation"""


class CloudScene(NamedTuple):
    """One scene, whole."""

    id: str
    xyz: Tensor
    """(N, 3) float, in the world"""
    x: Tensor
    """(N, F) float: the channels of the run"""
    pictures: list[Tensor]
    """C of (H, W, 3) float, normalised"""
    cameras: Camera
    """(C) of them"""
    boxes: Tensor
    """(M, 7) float, as `layers.points.boxes.rows` has them"""
    labels: Tensor
    """(M) long, classes"""


class CloudBatch(NamedTuple):
    """Scenes together, padded to as many points, pictures and boxes."""

    ids: list[str]
    cloud: Cloud
    """(B, N)"""
    pictures: Tensor | None
    """(B, C, H, W, 3), smaller ones at the top left; None where no scene has one"""
    cameras: Camera | None
    """(B, C), sizes 0 where there is none"""
    boxes: Boxes
    """(B, M) that are known"""


class CloudDataset(Protocol):
    """One split."""

    ids: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> CloudScene: ...


class CloudScenes(NamedTuple):
    """The three splits, and what was measured on the training split."""

    splits: Mapping[str, CloudDataset]
    """train, valid, test"""
    channels: list[Channel]
    """what is read of a point besides its place"""
    num_channels: int
    """F"""
    classes: list[str]
    stats: dict[str, tuple[Tensor, Tensor]]
    """`PICTURES` -> mean and standard deviation (3) that pictures are normalised with; of shares 0 to 1"""
    points: int
    """of a usual training scene, as many as are read"""
    frames: int
    """pictures of a usual training scene, as many as are read"""
    size: tuple[int, int]
    """rows and columns of a usual picture, as it is read; 0, 0 without any"""
    boxes: Mapping[str, int]
    """class -> boxes in training"""
    crowds: Mapping[str, int]
    """id of a training scene -> its boxes"""
    fingerprints: dict[str, Fingerprint]
    shown: dict[str, str]
    """split -> hash of its pictures and cameras, which fingerprints leave out: runs with fewer are compared"""
    skips: list[Skip]
    leaks: Sequence[str] = ()
    """what is in two splits, where data.leaks lets it pass"""
