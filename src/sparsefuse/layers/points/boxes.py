"""The geometry of boxes that stand upright: corners, and how far two of them overlap.

A box is a row of 7: centre x, y, z, the lengths along its own x, y, z, and its yaw; see `Boxes`.
"""

import torch
from torch import Tensor

from sparsefuse.layers.points.nouns import Boxes

SIGNS = ((1, 1), (-1, 1), (-1, -1), (1, -1))
"""of the corners of a rectangle, counter-clockwise"""


def rows(boxes: Boxes) -> Tensor:
    """(B, M, 7)"""
    return torch.cat([boxes.centre, boxes.size, boxes.yaw[..., None]], -1)


def turned(xy: Tensor, angle: Tensor) -> Tensor:
    """Points (..., 2) turned counter-clockwise by angles (...)."""
    x, y = xy.unbind(-1)
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * x - s * y, s * x + c * y], -1)


def corners(box: Tensor) -> Tensor:
    """(..., 7) -> (..., 8, 3): four below, counter-clockwise from the one along +x and +y, then the four above them."""
    half = box[..., None, 3:6] / 2
    flat = turned(half[..., :2] * half.new_tensor(SIGNS), box[..., None, 6])  # (..., 4, 2)
    layers = [torch.cat([flat, (side * half[..., 2:]).expand(*flat.shape[:-1], 1)], -1) for side in (-1, 1)]
    return torch.cat(layers, -2) + box[..., None, :3]


def extents(box: Tensor) -> Tensor:
    """The smallest boxes without yaw around boxes (..., 7) -> (..., 7)."""
    c, s = box[..., 6].cos().abs(), box[..., 6].sin().abs()
    length, width, height = box[..., 3:6].unbind(-1)
    size = torch.stack([c * length + s * width, s * length + c * width, height], -1)
    return torch.cat([box[..., :3], size, torch.zeros_like(box[..., 6:])], -1)


@torch.no_grad()
def iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlaps of boxes (M, 7) and (K, 7): volume in both over volume in either -> (M, K); 0 where neither has any."""
    shared = a.new_zeros(len(a), len(b))
    reach = (a[:, 3:5].norm(dim=-1)[:, None] + b[:, 3:5].norm(dim=-1)) / 2
    i, k = ((a[:, None, :2] - b[:, :2]).norm(dim=-1) <= reach).nonzero(as_tuple=True)
    shared[i, k] = _shared_area(a[i], b[k]) * _shared_length(a[i, 2], a[i, 5], b[k, 2], b[k, 5])
    return _over_union(shared, a, b)


@torch.no_grad()
def axis_aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    """The same of their extents (M, 7), (K, 7) -> (M, K)."""
    a, b = extents(a), extents(b)
    shared = torch.ones((), dtype=a.dtype, device=a.device)
    for axis in range(3):
        shared = shared * _shared_length(a[:, None, axis], a[:, None, 3 + axis], b[:, axis], b[:, 3 + axis])
    return _over_union(shared, a, b)


def _over_union(shared: Tensor, a: Tensor, b: Tensor) -> Tensor:
    either = a[:, None, 3:6].prod(-1) + b[:, 3:6].prod(-1) - shared
    return torch.where(either > 0, shared / either.clamp_min(torch.finfo(either.dtype).tiny), 0.0)


def _shared_length(a: Tensor, length_a: Tensor, b: Tensor, length_b: Tensor) -> Tensor:
    """How much intervals of these middles and lengths share."""
    top = torch.minimum(a + length_a / 2, b + length_b / 2)
    return (top - torch.maximum(a - length_a / 2, b - length_b / 2)).clamp_min(0)


def _shared_area(a: Tensor, b: Tensor) -> Tensor:
    """What the rectangles of pairs of boxes (P, 7) share -> (P): a's corners, in b's frame, clipped by b's four sides
    (Sutherland and Hodgman 1974). So sides of no length do no harm."""
    half_a, half_b = a[:, 3:5] / 2, b[:, 3:5] / 2
    own = turned(half_a[:, None] * half_a.new_tensor(SIGNS), (a[:, 6] - b[:, 6])[:, None])
    polygon = own + turned(a[:, :2] - b[:, :2], -b[:, 6])[:, None]  # (P, 4, 2)
    for axis in (0, 1):
        for sign in (-1, 1):
            polygon = _clipped(polygon, half_b[:, axis, None] - sign * polygon[..., axis])
    x, y = polygon.unbind(-1)
    return ((x * y.roll(-1, 1) - x.roll(-1, 1) * y).sum(1) / 2).clamp_min(0)


def _clipped(polygon: Tensor, inside: Tensor) -> Tensor:
    """The part of convex polygons (P, V, 2) where `inside` (P, V), linear, is not negative -> (P, V + 1, 2). Places
    that are left over repeat the first corner; all are at one where nothing is left."""
    following, after = polygon.roll(-1, 1), inside.roll(-1, 1)
    kept = inside >= 0
    crosses = kept != (after >= 0)
    share = torch.where(crosses, inside / torch.where(crosses, inside - after, 1.0), 0.0)[..., None]
    cut = polygon + share * (following - polygon)
    places = torch.stack([polygon, cut], 2).flatten(1, 2)  # (P, 2 V, 2) each corner, then the cut after it
    there = torch.stack([kept, crosses], 2).flatten(1, 2)
    order = (~there).long().argsort(dim=1, stable=True)[:, : polygon.shape[1] + 1]
    there = there.gather(1, order)
    places = places.gather(1, order[..., None].expand(-1, -1, 2))
    return torch.where(there[..., None], places, places[:, :1])
