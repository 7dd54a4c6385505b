"""Early fusion: every point has the colours, and features, of the pictures where it falls (after Vora et al. 2020).

    pictures -> a small network -> at each point's pixel \\
    cloud ------------------------------------------------ joined -> as points alone

The features are learned with the rest, where PointPainting takes the scores of a finished segmentation.
"""

from typing import Any

from sparsefuse.layers.points.detector import MeanSizes, changed, parts
from sparsefuse.layers.points.paint import Paint
from sparsefuse.layers.points.sizes import Size, size_of
from sparsefuse.model.points import DetectionModel

TEST: dict[str, Any] = {"features": 4}


def build(
    num_channels: int,
    num_classes: int,
    *,
    size: str | Size | dict[str, Any] = "ti",
    layers: int | None = None,
    proposals: int | None = None,
    frames: int | None = None,
    sizes: MeanSizes = None,
    features: int = 16,
) -> DetectionModel:
    """`features`: channels of the network on pictures; 0 = colours alone. `frames`: most pictures of a scene that are
    read. The others as for `points`."""
    whole = changed(size_of(size), layers, proposals, frames)
    if features < 0:
        raise ValueError(f"features must be 0 or more; got {features}")
    paint = Paint(features)
    made = parts(whole, num_channels + paint.added, num_classes, sizes)
    return DetectionModel(
        num_channels, made.backbone, made.sampling, made.project, made.first, made.decode, paint=paint, frames=frames
    )
