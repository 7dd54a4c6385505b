"""The epochs of a run: after each its scores, the best weights, the schedule, and all that is written."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Protocol

from sparsefuse.config import Config
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Epoch, Scores
from sparsefuse.training.best import better, score_of
from sparsefuse.training.distributed import Rank
from sparsefuse.training.followers import Followers, OnEpoch
from sparsefuse.training.position import Learner, Position
from sparsefuse.training.progress import EpochProgress


class Trains(Protocol):
    """A run in training."""

    config: Config
    folder: RunFolder
    rank: Rank
    learner: Learner

    @property
    def num_samples(self) -> int:
        """Of an epoch."""
        ...

    def epoch(self, at: Position, progress: EpochProgress) -> Position:
        """The batches of one epoch that are not done yet."""
        ...

    def valid_scores(self) -> Scores:
        """None without a validation split."""
        ...

    def save(self, at: Position) -> None:
        """Writes the checkpoint to resume from."""
        ...

    def save_best(self, at: Position) -> None:
        """Writes the weights."""
        ...


def fit(
    run: Trains,
    progress: EpochProgress,
    *,
    resume: bool,
    stop: Callable[[Path], bool] | None = None,
    on_epoch: OnEpoch | None = None,
) -> Position | None:
    """Epochs until the end; the weights of the best are saved. None if `stop` has ended it before."""
    at = _restored(run) if resume else Position()
    spec = run.config.train
    followers = Followers(run.folder.path, at.epoch, log=spec.log, on_epoch=on_epoch) if run.rank.first else None
    for epoch in range(at.epoch, spec.epochs):
        at = run.epoch(replace(at, epoch=epoch), progress)
        train_loss = at.loss_sum / run.num_samples
        valid = run.valid_scores()
        loss = demand_finite(valid.get("loss", train_loss), epoch, spec.lr)
        name = score_of(spec.best)
        if valid and name not in valid:
            raise ValueError(
                f"train.best is {name}, and what is known of the validation split gives no such score; it gives "
                f"{', '.join(valid):.200}: choose one of these, such as loss"
            )
        recent = [*at.recent, loss if name == "loss" else valid[name]][-spec.best_over :]
        at, score = replace(at, recent=recent), fmean(recent)
        if not at.best_epoch or better(spec.best, score, at.best_score):
            at = replace(at, best_score=score, best_epoch=epoch + 1)
            run.save_best(at)
        valid = {f"valid_{name}": value for name, value in valid.items()}
        line = Epoch(epoch + 1, run.learner.schedule.now, train_loss, round(at.seconds, 3), valid)
        run.learner.after_epoch(loss)
        at = replace(at, epoch=epoch + 1, batch=0, loss_sum=0.0)
        if run.rank.first:
            run.folder.add_epoch(line)
        run.save(at)
        progress.epoch(line)
        if followers:
            followers.epoch(line)
        if stop and stop(run.folder.path):
            return None
    return at


def demand_finite(loss: float, epoch: int, lr: float) -> float:
    """Raises ValueError before useless weights are saved."""
    if not math.isfinite(loss):
        raise ValueError(f"the loss is {loss} in epoch {epoch + 1}; lower train.lr (now {lr:g})")
    return loss


def _restored(run: Trains) -> Position:
    path = run.folder.checkpoint
    if not path.exists():
        return Position()
    at, lines = run.learner.restore(path), len(run.folder.epochs())
    if lines < at.epoch:
        raise ValueError(
            f"{path} is after {at.epoch} epochs, metrics.jsonl has {lines}; copy both again, or start again"
        )
    return at
