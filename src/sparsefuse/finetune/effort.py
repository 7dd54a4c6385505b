"""The cost of a step of adaptation on this machine."""

import statistics
from typing import NamedTuple

import torch

from sparsefuse.cost.measure import peak_of
from sparsefuse.cost.roofline import seconds
from sparsefuse.finetune.fit import Material, step
from sparsefuse.finetune.settings import Settings
from sparsefuse.finetune.trainable import choose
from sparsefuse.model import FusionModel

STEPS = 5


class Effort(NamedTuple):
    """One step."""

    step_ms: float
    """median time"""
    memory_mb: float
    """peak memory above the model and its clips, in MB (1e6 bytes)"""
    trained: int
    """trained parameters"""
    clips: int
    """new clips in the step"""
    old_clips: int
    """old clips beside them"""


def measured_effort(model: FusionModel, material: Material, settings: Settings) -> Effort:
    """Times steps with a whole batch; it trains `model`, so give a copy."""
    trained = choose(model, settings)
    optimizer = torch.optim.AdamW(trained.parameters, lr=settings.rate, weight_decay=0.0)
    new = torch.arange(min(settings.batch, len(material.samples)))
    old = torch.arange(min(settings.batch, len(material.old.labels)) if material.old else 0)

    def one() -> None:
        step(model, material, trained, optimizer, new, old)

    device = trained.parameters[0].device
    times = seconds(one, device, STEPS, warmup=2)
    model.zero_grad(set_to_none=True)  # otherwise the gradients of the last step would count as freed
    return Effort(1e3 * statistics.median(times), peak_of(one, device) / 1e6, trained.size, len(new), len(old))
