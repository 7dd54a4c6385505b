"""Losses of detectors: of a head as in Group-Free (Liu et al. 2021), of pictures as in DETR (Carion et al. 2020)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.points.assignment import assigned
from sparsefuse.layers.points.heads import binned
from sparsefuse.layers.points.picture import FlatBoxes
from sparsefuse.layers.points.state import BoxPredictions
from sparsefuse.layers.points.targets import FlatTargets, Wanted


class Weights(NamedTuple):
    """What each loss counts, and where smooth L1 turns from a square to a line; as published for SUN RGB-D."""

    sampling: float = 0.2
    objectness: float = 0.4
    box: float = 1.0
    label: float = 0.1
    scale: float = 10.0
    """of all those together"""
    flat: float = 1.0
    """of what pictures alone should say; in the release 0 after epoch 120"""
    centre_delta: float = 1 / 9
    size_delta: float = 0.0625
    heading_delta: float = 0.04
    nearest: int = 4
    """seeds of each object that should be chosen"""


def smooth(error: Tensor, delta: float) -> Tensor:
    """Smooth L1: error^2 / (2 delta) up to delta, then |error| - delta / 2."""
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=delta, reduction="none")


def focal(logits: Tensor, positive: Tensor, mask: Tensor) -> Tensor:
    """() Focal loss (Lin et al. 2017; alpha 1/4, gamma 2) of logits (B, N): means over the real ones of each scene."""
    p = logits.sigmoid()
    weight = torch.where(positive > 0, 0.25 * (1 - p) ** 2, 0.75 * p**2)
    loss = weight * F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    return ((loss * mask).sum(1) / mask.sum(1).clamp_min(1)).mean()


def box_losses(said: BoxPredictions, want: Wanted, means: Tensor, mask: Tensor, weights: Weights) -> dict[str, Tensor]:
    """The losses of one head over its candidates (B, K): of all whether there is an object, of those the rest."""
    count = want.object.sum().clamp_min(1)

    def mean(loss: Tensor) -> Tensor:
        return (loss * want.object).sum() / count

    bins, turn = binned(want.yaw)
    own_turn = said.turns.gather(2, bins[..., None])[..., 0]
    losses = {
        "objectness": focal(said.objectness, want.object, mask),
        "centre": mean(smooth(said.centre - want.centre, weights.centre_delta).sum(2)),
        "heading_bin": 0.1 * mean(F.cross_entropy(said.bins.transpose(1, 2), bins, reduction="none")),
        "heading": weights.heading_delta * mean(smooth(own_turn - turn, weights.heading_delta)),
        "label": mean(F.cross_entropy(said.labels.transpose(1, 2), want.label, reduction="none")),
    }
    if not len(means):
        error = said.sizes[:, :, 0] - want.size
    else:
        usual = (want.size[:, :, None] - means).square().sum(3).argmin(2)  # (B, K)
        losses["size_cluster"] = 0.1 * mean(F.cross_entropy(said.clusters.transpose(1, 2), usual, reduction="none"))
        own = said.sizes.gather(2, usual[..., None, None].expand(-1, -1, 1, 3))[:, :, 0]
        error = (own - want.size) / means[usual]
    losses["size"] = weights.size_delta * mean(smooth(error, weights.size_delta).sum(2))
    return losses


def flat_losses(said: FlatBoxes, targets: list[FlatTargets]) -> Tensor:
    """() DETR's loss: each object is one token's, so that all cost least; the other tokens should say that there is
    nothing. Cross entropy (1; nothing 0.1), L1 (5) and generalised overlap (2)."""
    nothing = said.labels.shape[2] - 1
    wanted = torch.full(said.labels.shape[:2], nothing, device=said.labels.device)
    picture, token, box = [], [], []
    for i, target in enumerate(targets):
        taken = _matched(FlatBoxes(said.labels[i], said.boxes[i]), target)
        wanted[i, taken] = target.label[: len(taken)]
        picture.append(torch.full_like(taken, i))
        token.append(taken)
        box.append(target.box[: len(taken)])
    weight = said.labels.new_ones(nothing + 1)
    weight[nothing] = 0.1
    total = F.cross_entropy(said.labels.transpose(1, 2), wanted, weight)
    found, box = said.boxes[torch.cat(picture), torch.cat(token)], torch.cat(box)
    count = max(len(box), 1)
    return total + 5 * (found - box).abs().sum() / count + 2 * (1 - generalised_iou(found, box)).sum() / count


@torch.no_grad()
def _matched(said: FlatBoxes, target: FlatTargets) -> Tensor:
    """(M) the token of each object; of objects beyond the number of tokens none."""
    box, label = target.box[: len(said.boxes)], target.label[: len(said.boxes)]
    cost = -said.labels.softmax(1)[:, label] + 5 * torch.cdist(said.boxes, box, p=1)
    cost = cost - 2 * generalised_iou(said.boxes[:, None], box)
    return torch.from_numpy(assigned(cost.T.double().cpu().numpy())).to(box.device)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Of boxes (..., 4), middle and size: overlap, less the share of the box around both that neither fills
    (Rezatofighi et al. 2019)."""
    low_a, high_a, low_b, high_b = (box[..., :2] + s * box[..., 2:] / 2 for box in (a, b) for s in (-1, 1))
    shared = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp_min(0).prod(-1)
    around = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod(-1).clamp_min(1e-9)
    either = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    return shared / either.clamp_min(1e-9) - (around - either) / around
