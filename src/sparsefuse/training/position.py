"""Where training is: its position and all that a step changes, written to a checkpoint and restored from it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sparsefuse.config import Train
from sparsefuse.files import checkpoint
from sparsefuse.files.typed import from_json
from sparsefuse.training.schedule import Schedule, ScheduleState


@dataclass(frozen=True)
class Position:
    """How far training is; in a checkpoint, beside the tensors."""

    epoch: int = 0
    batch: int = 0
    """batches of this epoch that are done"""
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_score: float = 0.0
    """`train.best` of the best epoch so far"""
    best_epoch: int = 0
    """0 = none yet"""
    recent: list[float] = field(default_factory=list)
    """scores of the last `train.best_over` epochs, at most"""
    warnings: list[str] = field(default_factory=list)
    """what sets the run apart from one that was planned as it is (see `extend`)"""

    def __post_init__(self) -> None:
        if min(self.epoch, self.batch, self.best_epoch) < 0:
            raise ValueError(f"{self} is no position; expected 0 or more")


@torch.no_grad()
def update_mean(mean: AveragedModel, model: nn.Module, decay: float) -> None:
    """As `mean.update_parameters` with PyTorch's EMA, which waits for a GPU: it copies its counter there."""
    mine: list[Tensor] = [*mean.module.parameters()]
    theirs: list[Tensor] = [*model.parameters()]
    if mean.n_averaged == 0:  # on the CPU
        torch._foreach_copy_(mine, theirs)  # pyright: ignore[reportPrivateImportUsage]
    else:
        torch._foreach_lerp_(mine, theirs, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for own, other in zip(mean.module.buffers(), model.buffers(), strict=True):
        own.copy_(other)
    mean.n_averaged += 1


def average(mean: AveragedModel | None, model: nn.Module, epoch: int, spec: Train) -> None:
    """Takes the weights after one of the last epochs into their mean (`train.swa`)."""
    if mean and spec.swa and epoch >= spec.epochs - max(round(spec.swa * spec.epochs), 1):
        mean.update_parameters(model)


RIVAL = "rival/"
"""before the tensors of a second learner"""


class Learner(NamedTuple):
    """All that a step changes."""

    model: nn.Module
    mean: AveragedModel | None
    """the weights' running mean"""
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    rival: "Learner | None" = None
    """who learns against it, with an optimizer of its own"""

    def after_epoch(self, loss: float) -> None:
        """Updates the schedules with the validation loss."""
        self.schedule.after_epoch(loss)
        if self.rival:
            self.rival.after_epoch(loss)

    def save(self, path: Path, at: Position) -> None:
        """Writes the checkpoint to resume from."""
        facts = {"progress": asdict(at), "schedule": asdict(self.schedule.state())}
        tensors = self._tensors()
        if self.rival:
            facts["rival"] = asdict(self.rival.schedule.state())
            tensors |= {RIVAL + name: tensor for name, tensor in self.rival._tensors().items()}
        checkpoint.save(path, tensors, facts)

    def restore(self, path: Path) -> Position:
        """Restores what `save` wrote. Raises ValueError, naming the file, if it does not fit."""
        saved = checkpoint.load(path)
        self._restore(saved.tensors, saved.facts.get("schedule"), f"{path}, schedule")
        if self.rival:
            tensors = {name.removeprefix(RIVAL): x for name, x in saved.tensors.items() if name.startswith(RIVAL)}
            self.rival._restore(tensors, saved.facts.get("rival"), f"{path}, rival")
        return from_json(Position, saved.facts.get("progress"), f"{path}, progress")

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {**checkpoint.model_tensors(self.model), **checkpoint.optimizer_tensors(self.optimizer)}
        return tensors | (checkpoint.model_tensors(self.mean, "mean/") if self.mean else {})

    def _restore(self, tensors: dict[str, Tensor], state: object, place: str) -> None:
        schedule = from_json(ScheduleState, state, place)
        checkpoint.restore_model(self.model, tensors)
        if self.mean:
            checkpoint.restore_model(self.mean, tensors, "mean/")
        checkpoint.restore_optimizer(self.optimizer, tensors, schedule.lr)
        self.schedule.restore(schedule)
