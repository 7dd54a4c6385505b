"""Scores of boxes in space: average precision as PASCAL VOC counts it (Everingham et al. 2010), with oriented overlap.

    boxes found and boxes known, scene by scene -> map25, map50, and ap25_<class>, ap50_<class>

Of a class all boxes found are taken by score, over all scenes. One counts if the known box of its class and scene that
it overlaps most, by more than the threshold, was not found before. Precision is made never to rise with recall, from
the right, and its area is the average precision: at all points, not at eleven.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.layers.points.boxes import iou, rows
from sparsefuse.layers.points.nouns import Boxes

THRESHOLDS = (0.25, 0.5)


class _Found(NamedTuple):
    """The boxes found of one class, in some scenes."""

    score: Tensor
    """(D)"""
    overlap: Tensor
    """(D) with the known box that each overlaps most; 0 if there is none"""
    known: Tensor
    """(D) long, that box's number among those of its class; of no meaning where overlap is 0"""


class DetectionScores:
    """Collects scenes; see the module."""

    def __init__(self, classes: Sequence[str], thresholds: Sequence[float] = THRESHOLDS):
        self.classes, self.thresholds = tuple(classes), tuple(thresholds)
        self._found: list[list[_Found]] = [[] for _ in self.classes]
        self._known = [0] * len(self.classes)

    def update(self, found: Boxes, known: Boxes) -> None:
        """Adds the boxes (B, M) and (B, M') of some scenes; a proposal may be among `found` once for each class."""
        found, known = _to_cpu(found), _to_cpu(known)
        found_rows, known_rows = rows(found).double(), rows(known).double()
        for scene in range(len(found.mask)):
            for label in range(len(self.classes)):
                ours = found.mask[scene] & (found.label[scene] == label)
                truth = known_rows[scene, known.mask[scene] & (known.label[scene] == label)]
                if not ours.any():
                    self._known[label] += len(truth)
                    continue
                overlap = iou(found_rows[scene, ours], truth) if len(truth) else torch.zeros(int(ours.sum()), 1)
                best, which = overlap.max(1)
                self._found[label].append(_Found(found.score[scene, ours], best, which + self._known[label]))
                self._known[label] += len(truth)

    def compute(self) -> dict[str, float]:
        """The scores, from 0 to 1. A class that no scene has is left out, of the mean too; the mean of none is NaN."""
        scores = {}
        for threshold in self.thresholds:
            name = f"{round(100 * threshold)}"
            each = {c: self._average_precision(i, threshold) for i, c in enumerate(self.classes) if self._known[i]}
            scores[f"map{name}"] = sum(each.values()) / len(each) if each else float("nan")
            scores |= {f"ap{name}_{c}": value for c, value in each.items()}
        return scores

    def _average_precision(self, label: int, threshold: float) -> float:
        if not self._found[label]:
            return 0.0
        score, overlap, known = (torch.cat(parts) for parts in zip(*self._found[label], strict=True))
        order = score.argsort(descending=True, stable=True)
        hit = overlap[order] > threshold
        place = torch.arange(len(order))
        first = torch.full((self._known[label] + 1,), len(order))  # by known box: the first that found it
        first = first.scatter_reduce(0, torch.where(hit, known[order], self._known[label]), place, "amin")
        right = (hit & (first[known[order].clamp_max(self._known[label])] == place)).double()
        recall = right.cumsum(0) / self._known[label]
        precision = right.cumsum(0) / (place + 1)
        envelope = precision.flip(0).cummax(0).values.flip(0)
        steps = torch.diff(recall, prepend=recall.new_zeros(1))
        return float((steps * envelope).sum())


def _to_cpu(boxes: Boxes) -> Boxes:
    return Boxes(*(part.detach().cpu() for part in boxes))
