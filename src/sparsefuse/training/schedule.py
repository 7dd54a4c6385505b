"""The learning rate of every step: warm-up, then the plateau rule or a cosine."""

import math
from typing import Any

import torch

from sparsefuse.config import Train


def new_optimizer(parameters: Any, spec: Train) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum. The decay of AdamW is decoupled, that of SGD is part of the gradient."""
    if spec.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)
    return torch.optim.AdamW(parameters, lr=spec.lr, weight_decay=spec.weight_decay)


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

    def facts(self) -> dict[str, object]:
        """The state for a checkpoint."""
        return {"plateau": self.plateau.state_dict(), "lr": self.rate}

    def restore(self, facts: dict[str, Any]) -> None:
        """Restores the state from `facts`."""
        self.plateau.load_state_dict(facts["plateau"])
        self.rate = facts["lr"]

    def _set(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
