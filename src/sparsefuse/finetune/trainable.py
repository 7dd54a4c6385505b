"""Which weights are trained: a model and a choice in; its parameters, and the depth below which all are frozen."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsefuse.finetune.settings import Settings
from sparsefuse.layers import lora
from sparsefuse.model import FusionModel
from sparsefuse.training import states


class Trainable(NamedTuple):
    """The trained part of a model."""

    parameters: list[nn.Parameter]
    depth: int
    """the layers above this depth are trained"""

    @property
    def size(self) -> int:
        """The number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters)


def depth_of(model: FusionModel, settings: Settings) -> int:
    """The depth that new and old clips are joined at: where fusion begins, or the head if only that is trained."""
    return len(model.layers) if settings.weights == "head" else states.fusion_depth(model)


def choose(model: FusionModel, settings: Settings) -> Trainable:
    """Sets requires_grad in place, and adds low-rank adapters for `lora`; see `merge`."""
    depth = depth_of(model, settings)
    layers = list(model.layers)[depth:]
    model.requires_grad_(settings.weights == "all")
    model.head.requires_grad_(True)
    if settings.weights == "fusion":
        for layer in layers:
            layer.requires_grad_(True)
    if settings.weights == "lora":
        lora.add(layers, settings.rank, torch.Generator().manual_seed(settings.seed))
    return Trainable([p for p in model.parameters() if p.requires_grad], depth)


def hold_rows(model: FusionModel, names: Sequence[str], trained: Tensor) -> None:
    """Freezes the rows of classes that are not in `trained` (C,) bool: `names` are the weights with such rows."""
    parameters = dict(model.named_parameters())
    for name in names:
        if name in parameters:
            parameters[name].register_hook(lambda grad: grad * trained.view(-1, *[1] * (grad.ndim - 1)).to(grad))


def merge(model: FusionModel) -> None:
    """Merges low-rank adapters into the weights, so that the model is saved and loaded like any other."""
    lora.merge([model])
