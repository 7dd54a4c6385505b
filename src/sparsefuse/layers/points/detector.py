"""The parts that every detector has, made for a size: what its methods arrange."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from sparsefuse.layers.points.backbone import PointNet2
from sparsefuse.layers.points.decoder import Decode
from sparsefuse.layers.points.heads import BoxHead
from sparsefuse.layers.points.keypoints import KeyPoints
from sparsefuse.layers.points.picture import PictureBlocks
from sparsefuse.layers.points.sizes import Size

MeanSizes = Sequence[Sequence[float]] | None
"""usual sizes of objects, in metres; None = sizes are predicted by themselves"""


class Parts(NamedTuple):
    """A detector's, with a decoder layer for each of `decode`."""

    backbone: PointNet2
    sampling: KeyPoints
    project: tuple[nn.Module, nn.Module]
    """of candidates and of seeds"""
    first: BoxHead
    decode: list[Decode]


def parts(size: Size, num_channels: int, num_classes: int, sizes: MeanSizes) -> Parts:
    """For clouds of `num_channels` besides the place."""
    dim = size.dim
    return Parts(
        PointNet2(num_channels, dim, size.levels),
        KeyPoints(dim, size.proposals),
        (nn.Linear(dim, dim), nn.Linear(dim, dim)),
        BoxHead(dim, num_classes, sizes),
        [
            Decode(dim, size.num_heads, size.hidden, size.drop, BoxHead(dim, num_classes, sizes))
            for _ in range(size.layers)
        ],
    )


def picture_blocks(size: Size) -> list[PictureBlocks]:
    """Two blocks over the pictures for each layer of the decoder, the later dropped the oftener."""
    last = 2 * size.layers - 1
    rates = [size.picture.drop_path * i / last for i in range(last + 1)]
    return [PictureBlocks(size.picture, rates[2 * i : 2 * i + 2]) for i in range(size.layers)]


def changed(size: Size, layers: int | None, proposals: int | None, frames: int | None) -> Size:
    """The size with what is not None. Raises ValueError for what is below 1, or for frames below 0."""
    for name, value, least in (("layers", layers, 1), ("proposals", proposals, 1), ("frames", frames, 0)):
        if value is not None and value < least:
            raise ValueError(f"{name} must be {least} or more; got {value}")
    return size._replace(layers=layers or size.layers, proposals=proposals or size.proposals)
