"""TokenFusion of points and pictures: seeds of low score are replaced by what pictures show there (Wang et al. 2022).

    pictures -> 2 blocks --------------------> 2 blocks -------------------> ... -> objects of the pictures alone
                   | at each seed's pixel         |
    seeds ----> [own of high score | pictures'] [the same, of the same seeds] ...
                   |                              |
    candidates -> attention -> boxes ---------> attention -> boxes --------> ...

A layer scores the seeds (s), reads s times their tokens, and in place of those with s < threshold, where a picture
shows them, the projection of the picture's token (section 3.4). Of several pictures it is the mean of those that show
the place; the paper does not say. As published the exchange is one way, and the pictures learn from their own loss
alone (`detach`): DETR's, of the extents that the boxes have in each picture.

Unlike the paper, whose penalty is the sum of all scores (lambda), the default penalises the squared distance of the
share of seeds replaced from `target_share`, for every layer: the published penalty ended with all replaced, when the
candidates read no point any more. `target_share=None, score_penalty=1e-3` is the published one, of a scene where the
release sums over a batch. Also unlike the released code, which does not run: cameras follow pictures that are resized,
the last rows and columns of a picture read its last patches, a seed that no picture shows stays, and pictures learn
all objects that they show. The pictures' norms have an epsilon of 1e-12, and weights start at random where the release
has DeiT's. The rest as for `points`.
"""

from typing import Any

from sparsefuse.layers.exchange import check_penalties
from sparsefuse.layers.points.detector import MeanSizes, changed, parts, picture_blocks
from sparsefuse.layers.points.exchange import PointExchange
from sparsefuse.layers.points.picture import FlatHead, PictureTokens
from sparsefuse.layers.points.sizes import Size, size_of
from sparsefuse.model.points import DetectionModel, ScorePenalty

TEST: dict[str, Any] = {"threshold": 0.7}


def build(
    num_channels: int,
    num_classes: int,
    *,
    size: str | Size | dict[str, Any] = "ti",
    layers: int | None = None,
    proposals: int | None = None,
    frames: int | None = None,
    sizes: MeanSizes = None,
    threshold: float = 0.02,
    score_penalty: float = 1.0,
    target_share: float | None = 0.3,
    detach: bool = True,
) -> DetectionModel:
    """Exchanges where a score is below `threshold`. `score_penalty` times the squared distance from `target_share`, or
    times the sum of scores, is added to the loss. `frames`: most pictures of a scene that are read. The others as for
    `points`.
    """
    for option, value in (("threshold", threshold), ("target_share", target_share)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{option} must be from 0 to 1; got {value}")
    check_penalties(score_penalty, None, 0.0, "none")
    whole = changed(size_of(size), layers, proposals, frames)
    made, picture = parts(whole, num_channels, num_classes, sizes), whole.picture
    steps = []
    for blocks, decode in zip(picture_blocks(whole), made.decode, strict=True):
        steps += [blocks, PointExchange(whole.dim, picture.dim, threshold=threshold, detach=detach), decode]
    return DetectionModel(
        num_channels,
        made.backbone,
        made.sampling,
        made.project,
        made.first,
        steps,
        tokens=PictureTokens(picture),
        flat=FlatHead(picture, num_classes) if picture.detections else None,
        penalty=ScorePenalty(score_penalty, threshold, target_share),
        frames=frames,
    )
