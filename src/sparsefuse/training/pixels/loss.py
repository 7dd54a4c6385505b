"""The training loss on pixels: predictions and the truth in, one loss per sample out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.config.pixels import PixelTask
from sparsefuse.data.pixels.scenes import SceneBatch
from sparsefuse.tokens import PixelHeadOutputs


def losses(
    outputs: PixelHeadOutputs, batch: SceneBatch, task: PixelTask, ignore: int, smoothing: float = 0.0
) -> Tensor:
    """(B,) the loss of each sample: of its predictions, as much of each as it weighs."""
    each = torch.zeros((), device=batch.target.device)
    for made, weight in zip(outputs.logits.unbind(1), outputs.weights.unbind(1), strict=True):
        each = each + weight * loss_of(made, batch, task, ignore, smoothing)
    return each


def loss_of(made: Tensor, batch: SceneBatch, task: PixelTask, ignore: int, smoothing: float = 0.0) -> Tensor:
    """(B,) of one prediction (B, H, W, C): the mean over a sample's pixels of the cross entropy, where it has a class,
    or of the absolute error, where the truth is known. 0 for a sample without such a pixel."""
    if task == "segment":
        known = batch.mask & (batch.target != ignore)
        logits = made.float().permute(0, 3, 1, 2)
        target = batch.target.masked_fill(~known, ignore)
        pixels = F.cross_entropy(logits, target, reduction="none", ignore_index=ignore, label_smoothing=smoothing)
    else:
        known = batch.mask
        pixels = (made.float() - batch.target).abs().mean(-1)
    return pixels.masked_fill(~known, 0).sum((1, 2)) / known.sum((1, 2)).clamp_min(1)
