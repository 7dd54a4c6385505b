"""Training on pictures: a configuration in, a run folder out. The epochs, schedule and checkpoint are those of clips.

Everything random in a step follows from the seed and the step's number: a resumed run needs no random state.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from sparsefuse.config import Config
from sparsefuse.data.pixels.augment import augment
from sparsefuse.data.pixels.batches import batches, collate
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.data.pixels.scenes import Scene, SceneBatch, Scenes
from sparsefuse.methods import pixels
from sparsefuse.pixel_model import PixelModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_weights import read_pixel_weights, write_pixel_weights
from sparsefuse.runs.records import Scores
from sparsefuse.training import distributed, epochs, extend
from sparsefuse.training.best import check_best_of, score_of
from sparsefuse.training.epochs import demand_finite
from sparsefuse.training.followers import OnEpoch, need_tensorboard
from sparsefuse.training.opened import opened
from sparsefuse.training.pixels.judge import Judge
from sparsefuse.training.pixels.loss import losses
from sparsefuse.training.pixels.results import cost_of, write_result, write_setup
from sparsefuse.training.pixels.scoring import Scored, Truth, moved, read_by, score, with_hole, without
from sparsefuse.training.position import Learner, Position, average, update_mean
from sparsefuse.training.progress import EpochProgress
from sparsefuse.training.schedule import Schedule, new_optimizer

SCORES = {
    "segment": ("loss", "pix_acc", "macc", "miou"),
    "translate": ("loss", "mae", "mse", "psnr", "ssim"),
}
"""of every split, by task"""


def train_pixels(
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
    """`training.train.train` for tasks on pictures, with a checked configuration whose paths are from here. Raises
    ValueError under torchrun: it trains in one process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"data.task is {config.data.task}: pictures are trained on in one process, torchrun started "
            f"{os.environ['WORLD_SIZE']}; call sparsefuse train by itself"
        )
    if config.train.log == "tensorboard":
        need_tensorboard()
    rank = distributed.join(config.train.device)
    with opened(out, config, rank, resume=resume, tested=tested) as (folder, before, ended):
        if ended:
            return out
        scenes = load_scenes(config)
        options = options_of(config)
        model = new_model(config, scenes).to(rank.device)
        cost = cost_of(model, scenes.size, measured=False)  # now: what cannot be counted should not be trained
        run = _Run(config, scenes, model, rank, folder)
        if before:
            extend.extend(folder, config, before)
        write_setup(folder, config, scenes, options, name or config.method)
        with EpochProgress(config.train.epochs, shown=shown) as progress:
            at = epochs.fit(run, progress, resume=resume, stop=stop, on_epoch=on_epoch)
        if at is None:
            return out
        model = run.scored
        read_pixel_weights(folder, model)
        test = run.test_scores() if tested and len(scenes.splits["test"]) else None
        cost = replace(cost_of(model, scenes.size, measured=True) if measured else cost, **costs)
        write_result(folder, config, scenes, name or config.method, at, cost, run.split_scores("valid"), test)
    return out


def new_model(config: Config, scenes: Scenes) -> PixelModel:
    """The model of a configuration, with weights initialised from its seed."""
    torch.manual_seed(config.seed)
    return pixels.build(config.method, scenes.channels, scenes.outputs, task=config.data.task, **options_of(config))


def options_of(config: Config) -> dict[str, Any]:
    """The options for this run's method: those under its name, and those of `all` that it has."""
    known = pixels.option_names(config.method)
    shared = {name: value for name, value in config.options.get("all", {}).items() if name in known}
    return {**shared, **config.options.get(config.method, {})}


class _Drawn(NamedTuple):
    """A step's batch, augmented, and the seed of what the step itself draws."""

    batch: SceneBatch
    seed: int


class _Run:
    """The training loop and its state."""

    def __init__(self, config: Config, scenes: Scenes, model: PixelModel, rank: distributed.Rank, folder: RunFolder):
        self.config, self.scenes, self.model, self.rank, self.folder = config, scenes, model, rank, folder
        spec = config.train
        self.truth = Truth("segment" if scenes.classes else "translate", scenes.classes, config.pixels.ignore)
        check_best_of(spec.best, SCORES[self.truth.task], self.truth.task, valid=bool(len(scenes.splits["valid"])))
        optimizer = new_optimizer(model.parameters(), spec)
        mean = AveragedModel(model) if spec.ema or spec.swa else None
        self.judge = None
        if config.pixels.adversarial and self.truth.task == "translate":
            size = options_of(config).get("size", "b0")
            self.judge = Judge(model, scenes.outputs, size, config, rank.device)
        rival = self.judge.learner if self.judge else None
        self.learner = Learner(model, mean, optimizer, Schedule(optimizer, spec), rival)
        self.saved_at = time.monotonic()

    @property
    def num_samples(self) -> int:
        return len(self.scenes.splits["train"])

    @property
    def scored(self) -> PixelModel:
        """The model that is validated, tested and saved: the weights' mean if there is one."""
        mean = self.learner.mean
        model = mean.module if mean and mean.n_averaged else self.model
        assert isinstance(model, PixelModel)
        return model

    def epoch(self, at: Position, progress: EpochProgress) -> Position:
        """The batches of one epoch that are not done yet."""
        spec = self.config.train
        chosen = batches(self.num_samples, spec.batch_size, self.config.seed, at.epoch)
        loss_sum, start = at.loss_sum, time.monotonic()
        for drawn in self._draw(at, chosen):
            loss = float(self._step(at, drawn, len(chosen)).double())
            loss_sum, now = demand_finite(loss_sum + loss, at.epoch, spec.lr), time.monotonic()
            at = replace(at, batch=at.batch + 1, loss_sum=loss_sum, seconds=at.seconds + now - start)
            start = now
            progress.step(at.epoch, at.batch, len(chosen))
            if now - self.saved_at > 60 * spec.save_minutes:
                self.save(at)
        average(self.learner.mean, self.model, at.epoch, spec)
        return at

    def _draw(self, at: Position, chosen: list[list[int]]) -> Iterator[_Drawn]:
        """The batches that are not done yet, augmented."""
        config, data = self.config, self.scenes.splits["train"]
        channels = {name: self.model.streams[name] for name in self.model.reads}
        loader = DataLoader(
            data,  # pyright: ignore[reportArgumentType]
            batch_sampler=chosen[at.batch :],
            num_workers=config.train.workers,
            collate_fn=list,
        )
        for index, samples in enumerate(loader, at.batch):
            seed = config.seed * 1_000_003 + at.epoch * len(chosen) + index
            generator = torch.Generator().manual_seed(seed)
            changed = [self._changed(sample, generator) for sample in samples]
            yield _Drawn(moved(collate(changed, channels, config.pixels.ignore), self.rank.device), seed)

    def _changed(self, scene: Scene, generator: torch.Generator) -> Scene:
        scene = read_by(self.model, scene)
        hidden = self.config.data.modality_dropout
        if not scene.fields:  # of another stream alone: its loss has no weight to learn from
            return scene
        return augment(scene, self.scenes.streams, self.config.pixels, generator, dropout=hidden)

    def _step(self, at: Position, drawn: _Drawn, count: int) -> Tensor:
        """One update; `count` batches an epoch. Returns the samples' summed loss, without the judge's."""
        spec, (batch, seed) = self.config.train, drawn
        torch.manual_seed(seed)
        self.model.train()
        self.learner.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            outputs, state = self.model.training_outputs(batch.fields)
        each = losses(outputs, batch, self.truth.task, self.truth.ignore, spec.label_smoothing)
        total = each.mean() + state.penalty
        step = at.epoch * count + at.batch
        if self.judge:
            with self._precision():
                self.judge.learn(outputs, batch, step, count)
                total = total + self.config.pixels.adversarial * self.judge.verdict(outputs, batch).mean()
        total.backward()
        if spec.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), spec.clip)
        self.learner.schedule.before_step(step, count)
        self.learner.optimizer.step()
        if self.learner.mean and spec.ema:
            update_mean(self.learner.mean, self.model, spec.ema)
        return each.detach().sum()

    def split_scores(self, split: str) -> Scored | None:
        """Those of a split, with every class; None without scenes."""
        return self._score(split, each=True) if len(self.scenes.splits[split]) else None

    def test_scores(self) -> Scored:
        """Those of the test split; also without each stream, and with holes."""
        found, main = self._score("test", each=True), self.truth.main
        scores = dict(found.scores)
        if len(self.model.reads) > 1:
            for name in self.model.reads:
                scores[f"{main}_without_{name}"] = self._score("test", without(name)).scores[main]
        scores[f"{main}_holes"] = self._score("test", with_hole).scores[main]
        return replace(found, scores=scores)

    def valid_scores(self) -> Scores:
        return self._score("valid").scores if len(self.scenes.splits["valid"]) else {}

    def _score(self, split: str, change: Any = None, *, each: bool = False) -> Scored:
        with self._precision():
            return score(
                self.scored, self.scenes.splits[split], self.truth, self.config.train.batch_size,
                change=change, each=each,
            )  # fmt: skip

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.rank.device.type, torch.bfloat16, enabled=self.config.train.precision == "bfloat16")

    def save(self, at: Position) -> None:
        """Writes the checkpoint to resume from."""
        self.saved_at = time.monotonic()
        self.learner.save(self.folder.checkpoint, at)

    def save_best(self, at: Position) -> None:
        facts = {"epoch": at.best_epoch, f"valid_{score_of(self.config.train.best)}": at.best_score}
        write_pixel_weights(self.folder, self.scored, self.scenes.stats, facts)
