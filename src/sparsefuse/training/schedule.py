"""The learning rate of every step: warm-up, then the plateau rule or a cosine."""

import math
import sys
from dataclasses import dataclass
from typing import Any

import torch

from sparsefuse.config import Train


def new_optimizer(parameters: Any, spec: Train) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum. The decay of AdamW is decoupled, that of SGD is part of the gradient."""
    if spec.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    parameters = list(parameters)
    fused = parameters[0].device.type == "cuda"  # one kernel for all weights
    return torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay, fused=fused)


def share(step: int, *, steps: int, spec: Train) -> float:
    """The share of the rate in a step, counted from 0; an epoch has `steps` of them. The plateau rule is apart.

    Warm-up is linear and its first step is not 0. The cosine begins after it, and would reach 0 in the step after the
    last.
    """
    warmup = spec.warmup_epochs * steps
    if step < warmup:
        return min((step + 1) / warmup, 1.0)
    if spec.schedule == "plateau":
        return 1.0
    return (1 + math.cos(math.pi * (step - warmup) / (spec.epochs * steps - warmup))) / 2


@dataclass(frozen=True)
class ScheduleState:
    """What changes in a schedule, in a checkpoint."""

    lr: float
    """before warm-up and cosine"""
    best: float
    """the plateau scheduler's lowest loss; the largest float before the first"""
    bad_epochs: int
    """since then"""


class Schedule:
    """Sets an optimizer's rate. Its state is `rate` and the plateau scheduler."""

    def __init__(self, optimizer: torch.optim.Optimizer, spec: Train):
        self.optimizer, self.spec = optimizer, spec
        self.rate = spec.lr
        """before warm-up and cosine"""
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=spec.decay, patience=max(spec.patience - 1, 0)
        )

    @property
    def now(self) -> float:
        """The rate of the last step."""
        return self.optimizer.param_groups[0]["lr"]

    def before_step(self, step: int, steps: int) -> None:
        """Sets the rate of a step; see `share`."""
        self._set(self.rate * share(step, steps=steps, spec=self.spec))

    def after_epoch(self, loss: float) -> None:
        """Updates the plateau scheduler with the validation loss."""
        if self.spec.schedule == "plateau":
            self._set(self.rate)
            self.plateau.step(loss)
            self.rate = self.now

    def state(self) -> ScheduleState:
        """The state for a checkpoint."""
        return ScheduleState(self.rate, min(self.plateau.best, sys.float_info.max), self.plateau.num_bad_epochs)

    def restore(self, state: ScheduleState) -> None:
        """Restores it."""
        self.rate, self.plateau.best, self.plateau.num_bad_epochs = state.lr, state.best, state.bad_epochs

    def _set(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
