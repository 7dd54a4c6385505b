"""The training loss: a model's outputs, labels, a mixup and what teachers say in; one loss per sample out."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse import metrics, mixup
from sparsefuse.config import Distill
from sparsefuse.data.labels import Labels
from sparsefuse.tokens import HeadOutputs


class Taught(NamedTuple):
    """What the teachers say of a batch."""

    logits: Tensor
    """(B, C), calibrated"""
    there: Tensor
    """(B,) bool: whether they can say anything"""
    labelled: Tensor
    """(B,) bool: whether the label counts"""
    cls: Tensor | None = None
    """(B, D) the CLS that the teacher's head read, if the student's is to be like it"""

    def at(self, rows: Tensor) -> "Taught":
        """Of other samples of the batch."""
        cls = None if self.cls is None else self.cls[rows]
        return Taught(self.logits[rows], self.there[rows], self.labelled[rows], cls)


class Loss:
    """The loss of each sample, over all outputs of its head."""

    def __init__(
        self,
        labels: Labels,
        *,
        label_smoothing: float,
        weights: Tensor | None = None,
        distill: Distill = Distill(),  # noqa: B008
    ):
        self.task: metrics.Task = labels.task
        self.heads, self.label_smoothing = labels.heads, label_smoothing
        self.weights = weights
        """of the classes, see `metrics.losses`"""
        self.distill = distill

    def __call__(
        self,
        outputs: HeadOutputs,
        labels: Tensor,
        mix: mixup.Mix | None,
        taught: Taught | None = None,
        cls: Tensor | None = None,
    ) -> Tensor:
        """(B,) the loss of each sample; `labels` as `Labels.encode` gives them, `cls` (B, D) what the head read."""
        each = torch.zeros((), device=labels.device)
        for i, (logits, weight) in enumerate(zip(outputs.logits.unbind(1), outputs.weights.unbind(1), strict=True)):
            own = mix and (mix.shares[outputs.streams[i]] if outputs.streams else mix.label)
            each = each + weight * self._losses(logits, labels, mix and mix._replace(label=own), taught)
        if cls is not None and taught is not None and taught.cls is not None:
            theirs = taught.cls if mix is None else torch.lerp(taught.cls[mix.partner], taught.cls, mix.label[:, None])
            each = each + self.distill.features * taught.there * (1 - F.cosine_similarity(cls.float(), theirs))
        return each

    def _losses(self, logits: Tensor, labels: Tensor, mix: mixup.Mix | None, taught: Taught | None) -> Tensor:
        """(B,) the loss of each sample, or of two mixed ones (SFT eq. 11): what the teachers say is mixed as labels."""
        if taught is not None and self.task == "regression":
            taught = taught._replace(logits=torch.where(taught.there[:, None], taught.logits, labels[:, None]))
        if mix is not None and self.task == "regression":  # SFT eq. 8: here a mixed label is a label
            labels = torch.lerp(labels[mix.partner], labels, mix.label)
            if taught is not None:
                mixed = torch.lerp(taught.logits[mix.partner], taught.logits, mix.label[:, None])
                taught = taught._replace(logits=mixed)

        def losses(labels: Tensor, taught: Taught | None) -> Tensor:
            smoothing, weights = self.label_smoothing, self.weights
            hard = metrics.losses(
                logits, labels, self.task, heads=self.heads, label_smoothing=smoothing, weights=weights
            )
            if taught is None:
                return hard
            spec = self.distill
            soft = metrics.soft_losses(logits, taught.logits, self.task, temperature=spec.temperature, heads=self.heads)
            share = spec.weight * taught.there
            return torch.where(taught.labelled, (1 - share) * hard, 0.0) + share * soft

        each = losses(labels, taught)
        if mix is not None and self.task != "regression":  # the same for classes: cross entropy is linear in the label
            partner = taught and taught.at(mix.partner)
            each = mix.label * each + (1 - mix.label) * losses(labels[mix.partner], partner)
        return each
