"""Non-maximum suppression: of boxes of one class that overlap, the one with the highest score stays."""

import torch
from torch import Tensor

from sparsefuse.layers.points.boxes import axis_aligned_iou, iou, rows
from sparsefuse.layers.points.nouns import Boxes


@torch.no_grad()
def suppress(boxes: Boxes, threshold: float = 0.25, *, oriented: bool = True) -> Boxes:
    """The boxes with fewer in their mask: from the highest score down, each that stays takes out those of its class
    that overlap it by more than `threshold`.

    `oriented=False` compares their extents along the axes, as published.
    """
    mask = boxes.mask.clone()
    overlap = iou if oriented else axis_aligned_iou
    for scene, box in enumerate(rows(boxes)):
        place = mask[scene].nonzero()[:, 0]
        place = place[boxes.score[scene, place].argsort(descending=True, stable=True)]
        label = boxes.label[scene, place]
        worse = torch.ones(len(place), len(place), dtype=torch.bool, device=mask.device).triu(1)
        clash = (overlap(box[place], box[place]) > threshold) & (label[:, None] == label) & worse
        mask[scene, place[_taken(clash)]] = False
    return boxes._replace(mask=mask)


def _taken(clash: Tensor) -> Tensor:
    """(K) which of boxes, best first, those that stay take out, by who clashes with whom after it (K, K)."""
    rows = clash.cpu()  # one after another: on a GPU each step would wait
    taken = torch.zeros(len(rows), dtype=torch.bool)
    for i in range(len(rows)):
        if not taken[i]:
            taken |= rows[i]
    return taken.to(clash.device)
