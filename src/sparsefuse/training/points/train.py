"""Training on clouds: what is drawn, a step, and the scores."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from sparsefuse.config import Config
from sparsefuse.data.points.augment import augment, sampled, with_frames
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.load import load_clouds
from sparsefuse.data.points.scenes import CloudBatch, CloudScene, CloudScenes
from sparsefuse.methods import points
from sparsefuse.model.points import DetectionModel
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.point_weights import read_point_weights, write_point_weights
from sparsefuse.runs.records import Scores
from sparsefuse.training import distributed
from sparsefuse.training.best import check_best_of, score_of
from sparsefuse.training.options import options_of
from sparsefuse.training.points.results import cost_of, scene_size, write_result, write_setup
from sparsefuse.training.points.scoring import Scored, moved, score
from sparsefuse.training.position import Learner, Position
from sparsefuse.training.progress import EpochProgress
from sparsefuse.training.scenes import epoch_of, scored_of, seed_of, update
from sparsefuse.training.schedule import Schedule, new_optimizer

log = logging.getLogger(__name__)

SCORES = ("loss", "map25", "map50")
"""of every split"""


def new_model(config: Config, scenes: CloudScenes) -> DetectionModel:
    """The model of a configuration, with weights initialised from its seed."""
    torch.manual_seed(config.seed)
    return points.build(config.method, scenes.num_channels, len(scenes.classes), **options_of(config))


class _Drawn(NamedTuple):
    """A step's batch, augmented, and the seed of what the step itself draws."""

    batch: CloudBatch
    seed: int


class PointRun:
    """The training loop and its state."""

    def __init__(self, config: Config, rank: distributed.Rank, folder: RunFolder):
        self.config, self.rank, self.folder = config, rank, folder
        self.scenes = scenes = load_clouds(config)
        self.model = model = new_model(config, scenes).to(rank.device)
        _check_scenes(config, scenes, model)
        self.size = scene_size(scenes)
        self.cost = cost_of(model, self.size, measured=False)  # now: what cannot be counted should not be trained
        spec = config.train
        check_best_of(spec.best, SCORES, "detect", valid=bool(len(scenes.splits["valid"])))
        optimizer = new_optimizer(model.parameters(), spec)
        mean = AveragedModel(model) if spec.ema or spec.swa else None
        self.learner = Learner(model, mean, optimizer, Schedule(optimizer, spec))
        self.saved_at = time.monotonic()

    @property
    def num_samples(self) -> int:
        return len(self.scenes.splits["train"])

    @property
    def scored(self) -> DetectionModel:
        """The model that is validated, tested and saved."""
        model = scored_of(self.learner)
        assert isinstance(model, DetectionModel)
        return model

    def epoch(self, at: Position, progress: EpochProgress) -> Position:
        """The batches of one epoch that are not done yet."""
        return epoch_of(self, at, progress)

    def draw(self, at: Position, chosen: list[list[int]]) -> Iterator[_Drawn]:
        """The batches that are not done yet, with other points in each epoch, augmented."""
        config, data = self.config, self.scenes.splits["train"]
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
            yield _Drawn(moved(collate(changed), self.rank.device), seed)

    def _changed(self, scene: CloudScene, generator: torch.Generator) -> CloudScene:
        scene = sampled(scene, self.config.points.num_points, generator)
        return augment(scene, self.config.points, generator, dropout=self.config.data.modality_dropout)

    def step(self, at: Position, drawn: _Drawn, count: int) -> Tensor:
        """One update; `count` batches an epoch. Returns the samples' summed loss."""
        batch, seed = drawn
        torch.manual_seed(seed)
        self.model.train()
        outputs = self.model(batch.cloud, batch.pictures, batch.cameras)
        loss = self.model.losses(outputs, batch.boxes)["loss"]
        update(self.learner, loss, self.config.train, at.epoch * count + at.batch, count)
        return loss.detach() * len(batch.ids)

    def write_setup(self, name: str) -> None:
        """The files of a run before its first step."""
        sees = self.model.reads_pictures
        write_setup(self.folder, self.config, self.scenes, options_of(self.config), name, sees=sees)

    def write_result(self, at: Position, name: str, *, tested: bool, measured: bool, costs: Mapping[str, Any]) -> None:
        """Those after its last, by its best weights."""
        read_point_weights(self.folder, self.scored)
        test = self.test_scores() if tested and len(self.scenes.splits["test"]) else None
        cost = cost_of(self.scored, self.size, measured=True) if measured else self.cost
        valid = self._score("valid", each=True) if len(self.scenes.splits["valid"]) else None
        write_result(self.folder, self.config, self.scenes, name, at, replace(cost, **costs), valid, test)

    def test_scores(self) -> Scored:
        """Those of the test split; also with fewer pictures, where the method reads any."""
        found = self._score("test", each=True)
        scores = dict(found.scores)
        if self.model.reads_pictures and "map25" in scores:  # some test scene has a box
            for frames in range(self.scenes.frames):
                name = f"map25_with_{frames}" if frames else "map25_without_pictures"
                scores[name] = self._score("test", partial(with_frames, count=frames)).scores["map25"]
        return replace(found, scores=scores)

    def valid_scores(self) -> Scores:
        return self._score("valid").scores if len(self.scenes.splits["valid"]) else {}

    def _score(self, split: str, change: Any = None, *, each: bool = False) -> Scored:
        return score(
            self.scored, self.scenes.splits[split], self.scenes.classes, self.config.points.num_points,
            self.config.train.batch_size, change=change, each=each,
        )  # fmt: skip

    def save(self, at: Position) -> None:
        """Writes the checkpoint to resume from."""
        self.saved_at = time.monotonic()
        self.learner.save(self.folder.checkpoint, at)

    def save_best(self, at: Position) -> None:
        facts = {"epoch": at.best_epoch, f"valid_{score_of(self.config.train.best)}": at.best_score}
        write_point_weights(self.folder, self.scored, self.scenes.stats, facts)


def _check_scenes(config: Config, scenes: CloudScenes, model: DetectionModel) -> None:
    """Raises ValueError for a method that reads pictures, where there are none and nobody asked for none; warns of
    scenes with more boxes than the model can find."""
    if model.reads_pictures and not scenes.frames and config.points.frames != 0:
        raise ValueError(
            f"{config.method} reads pictures, and most training scenes have none that can be used: the manifest names "
            f"them in files of cameras, column {config.points.cameras!r}; or set points.frames=0, or method=points"
        )
    most = model.sampling.count
    crowded = [id for id, count in scenes.crowds.items() if count > most]
    if crowded:
        log.warning(
            "%d training scenes have more than %d boxes, and that many are found at most: %s; set the option proposals",
            len(crowded), most, ", ".join(crowded)[:300],
        )  # fmt: skip
