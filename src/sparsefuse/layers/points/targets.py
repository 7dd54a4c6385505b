"""What seeds, candidates and pictures should say, from the boxes that are known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.points.boxes import corners, rows, turned
from sparsefuse.layers.points.nouns import Boxes, Cloud
from sparsefuse.layers.points.sampling import gather
from sparsefuse.layers.points.state import Views

MARGIN = 0.05
"""metres around a box that are its own too: what is measured on its faces is noisy"""


class Owner(NamedTuple):
    """Whose each point is."""

    box: Tensor
    """(B, S) long, its number; 0 where there is none"""
    inside: Tensor
    """(B, S) bool: in some box"""
    apart: Tensor
    """(B, S, M) how far from the middle of each box, in its sizes, along its own axes; infinite where it is not the
    point's own box"""

    def nearest(self, count: int) -> Tensor:
        """(B, S) bool: among the `count` points of its box that are nearest to the middle."""
        least = self.apart.transpose(1, 2).topk(min(count, self.apart.shape[1]), dim=2, largest=False)  # (B, M, count)
        chosen = torch.zeros(self.apart.transpose(1, 2).shape, dtype=torch.bool, device=self.apart.device)
        return chosen.scatter(2, least.indices, least.values.isfinite()).any(1)


@torch.no_grad()
def owners(points: Cloud, boxes: Boxes, margin: float = MARGIN) -> Owner:
    """The box that each real point (B, S) is in; of several the one whose middle is nearest, in its sizes."""
    away = points.xyz[:, :, None] - boxes.centre[:, None]  # (B, S, M, 3)
    flat = turned(away[..., :2], -boxes.yaw[:, None].expand(away.shape[:3]))
    away = torch.cat([flat, away[..., 2:]], -1)
    size = boxes.size[:, None]
    inside = (away.abs() <= size / 2 + margin).all(-1) & boxes.mask[:, None] & points.mask[..., None]
    apart = (away / size.clamp_min(1e-6)).square().sum(-1).masked_fill(~inside, math.inf)
    if not apart.shape[2]:
        none = torch.zeros_like(points.mask)
        return Owner(none.long(), none, apart)
    box = apart.argmin(2)
    own = torch.nn.functional.one_hot(box, apart.shape[2]).bool()
    return Owner(box, inside.any(2), apart.masked_fill(~own, math.inf))


class Wanted(NamedTuple):
    """What candidates should say."""

    object: Tensor
    """(B, K) 1 where there is one"""
    centre: Tensor
    size: Tensor
    """(B, K, 3)"""
    yaw: Tensor
    label: Tensor
    """(B, K)"""


def wanted(owner: Owner, numbers: Tensor, mask: Tensor, boxes: Boxes) -> Wanted:
    """Of the candidates (B, K) that are the seeds with these numbers: the box that its seed is in."""
    found = owner.inside.gather(1, numbers) & mask
    if not boxes.mask.shape[1]:
        zeros = boxes.centre.new_zeros(*numbers.shape, 3)
        return Wanted(found.to(zeros.dtype), zeros, zeros, zeros[..., 0], numbers.new_zeros(numbers.shape))
    box = owner.box.gather(1, numbers)
    parts = (gather(part, box) for part in (boxes.centre, boxes.size, boxes.yaw, boxes.label))
    return Wanted(found.to(boxes.centre.dtype), *parts)


class FlatTargets(NamedTuple):
    """The objects of one picture."""

    label: Tensor
    """(M')"""
    box: Tensor
    """(M', 4) as in `FlatBoxes`"""


@torch.no_grad()
def flat_targets(views: Views, boxes: Boxes) -> list[FlatTargets]:
    """For each picture the boxes whose middle it shows: the extent of their corners before the camera, as far as it is
    in the picture."""
    middle = views.camera.project(boxes.centre[views.scene])
    ends = views.camera.project(corners(rows(boxes))[views.scene].flatten(1, 2))  # (P, M * 8, ...)
    uv, before = ends.uv.unflatten(1, (-1, 8)), (ends.depth > 1e-3).unflatten(1, (-1, 8))[..., None]
    limit = views.camera.size.flip(-1).to(uv.dtype)[:, None, None]
    shares = ((uv + 0.5) / limit).clamp(0, 1)
    low = torch.where(before, shares, 1.0).amin(2)
    high = torch.where(before, shares, 0.0).amax(2)
    box = torch.cat([(low + high) / 2, high - low], -1)
    shown = middle.visible & boxes.mask[views.scene]
    return [FlatTargets(boxes.label[scene, some], box[i, some])
            for i, (scene, some) in enumerate(zip(views.scene.tolist(), shown, strict=True))]  # fmt: skip
