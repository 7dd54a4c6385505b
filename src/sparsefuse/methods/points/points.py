"""Points alone: Group-Free (Liu et al. 2021), the detector that TokenFusion adds pictures to.

    cloud -> PointNet++ -> seeds -> candidates of high score -> (attention among them -> attention to the seeds) ...
                                              |                                 |
                                             boxes                            boxes

Unlike the released code, attention has no dropout of its own weights, padding enters no batch norm, a candidate's box
is the one that its seed is in (with 5 cm around) instead of a label that comes with the point, and a scene without
boxes, or with any number of them, is trained on.
"""

from typing import Any

from sparsefuse.layers.points.detector import MeanSizes, changed, parts
from sparsefuse.layers.points.sizes import Size, size_of
from sparsefuse.model.points import DetectionModel

TEST: dict[str, Any] = {}


def build(
    num_channels: int,
    num_classes: int,
    *,
    size: str | Size | dict[str, Any] = "ti",
    layers: int | None = None,
    proposals: int | None = None,
    sizes: MeanSizes = None,
) -> DetectionModel:
    """`layers` of the decoder and `proposals`: as the size says, where None. `sizes`: usual sizes (S, 3) to choose and
    stretch, or None."""
    whole = changed(size_of(size), layers, proposals, None)
    made = parts(whole, num_channels, num_classes, sizes)
    return DetectionModel(num_channels, made.backbone, made.sampling, made.project, made.first, made.decode)
