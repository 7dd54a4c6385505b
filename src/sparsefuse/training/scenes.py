"""Training on scenes, of pictures or of points: what such runs do alike. Epochs and checkpoints are those of clips.

Everything random in a step follows from the seed and the step's number: a resumed run needs no random state.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from sparsefuse.config import Config, Train
from sparsefuse.data.pixels.batches import batches
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training import epochs, extend
from sparsefuse.training.distributed import Rank, join
from sparsefuse.training.epochs import Trains, demand_finite
from sparsefuse.training.followers import OnEpoch, need_tensorboard
from sparsefuse.training.opened import opened
from sparsefuse.training.position import Learner, Position, average, update_mean
from sparsefuse.training.progress import EpochProgress
from sparsefuse.training.unchanged import Unchanged

Drawn = TypeVar("Drawn")


class SceneRun(Trains, Protocol[Drawn]):
    """A run on scenes in training."""

    saved_at: float

    def draw(self, at: Position, chosen: list[list[int]]) -> Iterator[Drawn]:
        """The batches that are not done yet, augmented."""
        ...

    def step(self, at: Position, drawn: Drawn, count: int) -> Tensor:
        """One update; `count` batches an epoch. Returns the samples' summed loss."""
        ...

    def write_setup(self, name: str) -> None:
        """The files of a run before its first step."""
        ...

    def write_result(self, at: Position, name: str, *, tested: bool, measured: bool, costs: Mapping[str, Any]) -> None:
        """Those after its last, by its best weights."""
        ...


Make = Callable[[Config, Rank, RunFolder], SceneRun[Any]]
"""reads the data of a configuration and makes its model"""


def train_scenes(
    make: Make,
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    name: str = "",
    measured: bool = True,
    costs: Mapping[str, float | str] = MappingProxyType({}),
    tested: bool = True,
    shown: bool = True,
    stop: Callable[[Path], bool] | None = None,
    on_epoch: OnEpoch | None = None,
) -> Path:
    """`training.train.train` for tasks on scenes, with a checked configuration whose paths are from here. Raises
    ValueError under torchrun: it trains in one process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"data.task is {config.data.task}: scenes are trained on in one process, torchrun started "
            f"{os.environ['WORLD_SIZE']}; call sparsefuse train by itself"
        )
    if config.train.log == "tensorboard":
        need_tensorboard()
    rank = join(config.train.device)
    with opened(out, config, rank, resume=resume, tested=tested) as (folder, before, ended):
        if ended:
            Unchanged().check(folder, config)
            return out
        run = make(config, rank, folder)
        if before:
            extend.extend(folder, config, before)
        run.write_setup(name or config.method)
        with EpochProgress(config.train.epochs, shown=shown) as progress:
            at = epochs.fit(run, progress, resume=resume, stop=stop, on_epoch=on_epoch)
        if at is not None:
            run.write_result(at, name or config.method, tested=tested, measured=measured, costs=costs)
    return out


def epoch_of(run: SceneRun[Any], at: Position, progress: EpochProgress) -> Position:
    """The batches of one epoch that are not done yet."""
    spec = run.config.train
    chosen = batches(run.num_samples, spec.batch_size, run.config.seed, at.epoch)
    loss_sum, start = at.loss_sum, time.monotonic()
    for drawn in run.draw(at, chosen):
        loss = float(run.step(at, drawn, len(chosen)).double())
        loss_sum, now = demand_finite(loss_sum + loss, at.epoch, spec.lr), time.monotonic()
        at = replace(at, batch=at.batch + 1, loss_sum=loss_sum, seconds=at.seconds + now - start)
        start = now
        progress.step(at.epoch, at.batch, len(chosen))
        if now - run.saved_at > 60 * spec.save_minutes:
            run.save(at)
    average(run.learner.mean, run.learner.model, at.epoch, spec)
    return at


def update(learner: Learner, loss: Tensor, spec: Train, step: int, count: int) -> None:
    """One step of the optimizer, of the `count` of an epoch, and the weights after it in their mean."""
    learner.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if spec.clip:
        nn.utils.clip_grad_norm_(learner.model.parameters(), spec.clip)
    learner.schedule.before_step(step, count)
    learner.optimizer.step()
    if learner.mean and spec.ema:
        update_mean(learner.mean, learner.model, spec.ema)


def scored_of(learner: Learner) -> nn.Module:
    """The model that is validated, tested and saved: the weights' mean if there is one."""
    mean = learner.mean
    return mean.module if mean and mean.n_averaged else learner.model


def seed_of(config: Config, at: Position, count: int) -> int:
    """The seed of a step's draws; `count` batches an epoch."""
    return config.seed * 1_000_003 + at.epoch * count + at.batch
