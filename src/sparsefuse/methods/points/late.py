"""Late fusion: boxes by the points, and the mean of two opinions on their class, with learned weights.

    cloud ----> as points alone ----------------> boxes, classes \\
    pictures -> Vision Transformer -> at the boxes' middles: classes - weighted mean

The pictures' classes have a loss of their own; nothing flows back from the mean but into its weights. A box that no
picture shows has the points' classes.
"""

from typing import Any

from sparsefuse.layers.points.detector import MeanSizes, changed, parts, picture_blocks
from sparsefuse.layers.points.picture import PictureTokens
from sparsefuse.layers.points.sizes import Size, size_of
from sparsefuse.layers.points.vote import Vote
from sparsefuse.model.points import DetectionModel

TEST: dict[str, Any] = {}


def build(
    num_channels: int,
    num_classes: int,
    *,
    size: str | Size | dict[str, Any] = "ti",
    layers: int | None = None,
    proposals: int | None = None,
    frames: int | None = None,
    sizes: MeanSizes = None,
) -> DetectionModel:
    """Options as for `points`; `frames`: most pictures of a scene that are read."""
    whole = changed(size_of(size), layers, proposals, frames)
    whole = whole._replace(picture=whole.picture._replace(detections=0))  # none looks for objects
    made = parts(whole, num_channels, num_classes, sizes)
    return DetectionModel(
        num_channels,
        made.backbone,
        made.sampling,
        made.project,
        made.first,
        [*picture_blocks(whole), *made.decode],
        tokens=PictureTokens(whole.picture),
        vote=Vote(whole.picture.dim, num_classes),
        frames=frames,
    )
