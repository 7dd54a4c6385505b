"""The training loss: a model's outputs, labels and a mixup in; one loss per sample out."""

import torch
from torch import Tensor

from sparsefuse import metrics, mixup
from sparsefuse.data.labels import Labels
from sparsefuse.tokens import HeadOutputs


class Loss:
    """The loss of each sample, over all outputs of its head."""

    def __init__(self, labels: Labels, *, label_smoothing: float, weights: Tensor | None = None):
        self.task: metrics.Task = labels.task
        self.heads, self.label_smoothing = labels.heads, label_smoothing
        self.weights = weights
        """of the classes, see `metrics.losses`"""

    def __call__(self, outputs: HeadOutputs, labels: Tensor, mix: mixup.Mix | None) -> Tensor:
        """(B,) the loss of each sample; `labels` as `Labels.encode` gives them."""
        each = torch.zeros((), device=labels.device)
        for i, (logits, weight) in enumerate(zip(outputs.logits.unbind(1), outputs.weights.unbind(1), strict=True)):
            own = mix and (mix.shares[outputs.streams[i]] if outputs.streams else mix.label)
            each = each + weight * self._losses(logits, labels, mix and mix._replace(label=own))
        return each

    def _losses(self, logits: Tensor, labels: Tensor, mix: mixup.Mix | None) -> Tensor:
        """(B,) the loss of each sample, or of two mixed ones (SFT eq. 11)."""
        if mix is not None and self.task == "regression":  # SFT eq. 8: here a mixed label is a label
            labels = torch.lerp(labels[mix.partner], labels, mix.label)

        def losses(labels: Tensor) -> Tensor:
            smoothing, weights = self.label_smoothing, self.weights
            return metrics.losses(
                logits, labels, self.task, heads=self.heads, label_smoothing=smoothing, weights=weights
            )

        each = losses(labels)
        if mix is not None and self.task != "regression":  # the same for classes: cross entropy is linear in the label
            each = mix.label * each + (1 - mix.label) * losses(labels[mix.partner])
        return each
