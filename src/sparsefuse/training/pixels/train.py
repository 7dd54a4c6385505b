"""Training on pictures: what is drawn, a step, and the scores."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from sparsefuse.config import Config
from sparsefuse.data.pixels.augment import augment
from sparsefuse.data.pixels.batches import collate
from sparsefuse.data.pixels.load import load_scenes
from sparsefuse.data.pixels.scenes import Scene, SceneBatch, Scenes
from sparsefuse.methods import pixels
from sparsefuse.model.pixels import PixelModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_weights import read_pixel_weights, write_pixel_weights
from sparsefuse.runs.records import Scores
from sparsefuse.training import distributed
from sparsefuse.training.best import check_best_of, score_of
from sparsefuse.training.options import options_of
from sparsefuse.training.pixels.distances import Distances, distances_of
from sparsefuse.training.pixels.judge import Judge
from sparsefuse.training.pixels.loss import losses
from sparsefuse.training.pixels.results import cost_of, write_result, write_setup
from sparsefuse.training.pixels.scoring import Scored, Truth, moved, read_by, score, with_hole, without
from sparsefuse.training.position import Learner, Position
from sparsefuse.training.progress import EpochProgress
from sparsefuse.training.scenes import epoch_of, scored_of, seed_of, update
from sparsefuse.training.schedule import Schedule, new_optimizer

SCORES = {
    "segment": ("loss", "pix_acc", "macc", "miou"),
    "translate": ("loss", "mae", "mse", "psnr", "ssim"),
}
"""of every split, by task"""


def new_model(config: Config, scenes: Scenes) -> PixelModel:
    """The model of a configuration, with weights initialised from its seed."""
    torch.manual_seed(config.seed)
    return pixels.build(config.method, scenes.channels, scenes.outputs, task=config.data.task, **options_of(config))


class _Drawn(NamedTuple):
    """A step's batch, augmented, and the seed of what the step itself draws."""

    batch: SceneBatch
    seed: int


class PixelRun:
    """The training loop and its state."""

    def __init__(self, config: Config, rank: distributed.Rank, folder: RunFolder):
        self.config, self.rank, self.folder = config, rank, folder
        self.scenes = scenes = load_scenes(config)
        self.model = model = new_model(config, scenes).to(rank.device)
        self.cost = cost_of(model, scenes.size, measured=False)  # now: what cannot be counted should not be trained
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
        """The model that is validated, tested and saved."""
        model = scored_of(self.learner)
        assert isinstance(model, PixelModel)
        return model

    def epoch(self, at: Position, progress: EpochProgress) -> Position:
        """The batches of one epoch that are not done yet."""
        return epoch_of(self, at, progress)

    def draw(self, at: Position, chosen: list[list[int]]) -> Iterator[_Drawn]:
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
            seed = seed_of(config, replace(at, batch=index), len(chosen))
            generator = torch.Generator().manual_seed(seed)
            changed = [self._changed(sample, generator) for sample in samples]
            yield _Drawn(moved(collate(changed, channels, config.pixels.ignore), self.rank.device), seed)

    def _changed(self, scene: Scene, generator: torch.Generator) -> Scene:
        scene = read_by(self.model, scene)
        hidden = self.config.data.modality_dropout
        if not scene.fields:  # of another stream alone: its loss has no weight to learn from
            return scene
        return augment(scene, self.scenes.streams, self.config.pixels, generator, dropout=hidden)

    def step(self, at: Position, drawn: _Drawn, count: int) -> Tensor:
        """One update; `count` batches an epoch. Returns the samples' summed loss, without the judge's."""
        spec, (batch, seed) = self.config.train, drawn
        torch.manual_seed(seed)
        self.model.train()
        with self._precision():
            outputs, state = self.model.training_outputs(batch.fields)
        each = losses(outputs, batch, self.truth.task, self.truth.ignore, spec.label_smoothing)
        total = each.mean() + state.penalty
        step = at.epoch * count + at.batch
        if self.judge:
            with self._precision():
                self.judge.learn(outputs, batch, step, count)
                total = total + self.config.pixels.adversarial * self.judge.verdict(outputs, batch).mean()
        update(self.learner, total, spec, step, count)
        return each.detach().sum()

    def write_setup(self, name: str) -> None:
        """The files of a run before its first step."""
        write_setup(self.folder, self.config, self.scenes, options_of(self.config), name)

    def write_result(self, at: Position, name: str, *, tested: bool, measured: bool, costs: Mapping[str, Any]) -> None:
        """Those after its last, by its best weights."""
        read_pixel_weights(self.folder, self.scored)
        test = self.test_scores() if tested and len(self.scenes.splits["test"]) else None
        cost = cost_of(self.scored, self.scenes.size, measured=True) if measured else self.cost
        valid = self.split_scores("valid")
        write_result(self.folder, self.config, self.scenes, name, at, replace(cost, **costs), valid, test)

    def split_scores(self, split: str) -> Scored | None:
        """Those of a split, with every class; None without scenes."""
        return self._score(split, each=True) if len(self.scenes.splits[split]) else None

    def test_scores(self) -> Scored:
        """Those of the test split; also without each stream, and with holes."""
        far = distances_of(self.scenes.outputs, self.rank.device) if self.truth.task == "translate" else None
        found, main = self._score("test", each=True, distances=far), self.truth.main
        scores = dict(found.scores)
        if main not in scores:  # nothing is known of any pixel
            return found
        if len(self.model.reads) > 1:
            for name in self.model.reads:
                scores[f"{main}_without_{name}"] = self._score("test", without(name)).scores[main]
        scores[f"{main}_holes"] = self._score("test", with_hole).scores[main]
        return replace(found, scores=scores)

    def valid_scores(self) -> Scores:
        return self._score("valid").scores if len(self.scenes.splits["valid"]) else {}

    def _score(
        self, split: str, change: Any = None, *, each: bool = False, distances: Distances | None = None
    ) -> Scored:
        with self._precision():
            return score(
                self.scored, self.scenes.splits[split], self.truth, self.config.train.batch_size,
                change=change, each=each, distances=distances,
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
