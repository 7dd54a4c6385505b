"""Training: a configuration in, a run folder out. One loop, alone or under torchrun.

Everything random in a step follows from the seed and the step's number: a resumed run needs no random state.
"""

import contextlib
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from sparsefuse import metrics, mixup
from sparsefuse.baseline import UNTRAINED
from sparsefuse.checks import check_config, check_one_test_split
from sparsefuse.config import Config, ConfigLike
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.cost import count
from sparsefuse.cost.encoders import encoders_gmacs
from sparsefuse.data.augment import augment
from sparsefuse.data.batches import LengthBuckets, collate
from sparsefuse.data.clips import Clips, leaks_in, load_clips, tell_problems
from sparsefuse.data.split import lone_judge
from sparsefuse.layers.exchange import ExchangeCount
from sparsefuse.methods import BASELINE, build
from sparsefuse.model import FusionModel
from sparsefuse.runs.calibration import calibrate
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Cost, ModelFacts, Result, Scores
from sparsefuse.runs.scoring import Predicted, cost_of, scores, write_result
from sparsefuse.runs.weights import read_weights, write_weights
from sparsefuse.tokens import Batch, HeadOutputs, Tokens
from sparsefuse.training import distributed, epochs, extend, multiclip, pretrained, replay
from sparsefuse.training.balance import check_balance, class_weights, sample_chances
from sparsefuse.training.baseline import fitted
from sparsefuse.training.best import check_best, score_of
from sparsefuse.training.device_features import check_cache, kept_features
from sparsefuse.training.epochs import demand_finite
from sparsefuse.training.followers import OnEpoch, need_tensorboard
from sparsefuse.training.loss import Loss, Taught
from sparsefuse.training.on_device import Drawn, on_device
from sparsefuse.training.opened import opened
from sparsefuse.training.options import options_of
from sparsefuse.training.pixels.train import PixelRun
from sparsefuse.training.points.train import PointRun
from sparsefuse.training.position import Learner, Position, average, update_mean
from sparsefuse.training.progress import EpochProgress
from sparsefuse.training.scenes import train_scenes
from sparsefuse.training.schedule import Schedule, new_optimizer
from sparsefuse.training.setup import write_setup
from sparsefuse.training.step_graphs import Capture, StepGraphs, check_graphs, padded, should_capture
from sparsefuse.training.teachers import Lesson, lesson, read_cls, teachers_of
from sparsefuse.training.unchanged import Unchanged

READ_EVERY = defaultdict(lambda: 50, cpu=1)
"""Steps between two looks at losses, by type of device: reading waits for a GPU."""


def train(
    config: ConfigLike = None,
    out: str | Path = "runs/train",
    *,
    root: str | Path = "",
    resume: bool = False,
    name: str = "",
    measured: bool = True,
    costs: Mapping[str, float | str] = MappingProxyType({}),
    tested: bool = True,
    shown: bool = True,
    stop: Callable[[Path], bool] | None = None,
    on_epoch: OnEpoch | None = None,
    **fields: object,
) -> Path:
    """Trains one model; writes and returns its run folder `out`, which `sparsefuse.load` opens.

    `config` and `fields` are what `Config.load` takes: `train("clips.yaml", "runs/one", method="late")`. `root` is the
    folder that the manifest's path is relative to. `resume` continues a run that was stopped, to the same weights; a
    finished run of the same clips stays as it is, unless its test split is still to be scored, or there are more epochs
    now: then it goes on to them, and is tested again, as its result says. `name` is the run's in tables, by default its
    method. `measured`: measure latency and memory at the end; `costs` replace counted and measured costs; with `tested`
    off the test split is not scored; `shown`: show progress. `stop` is called with the run folder after each epoch; if
    it returns True, training ends, and the run stays unfinished. `on_epoch` is called after each epoch with its record
    (`epoch`, `lr`, `train_loss`, `scores`) and the run folder, by the first process alone.

    Raises FileExistsError when another process trains in `out`, or it holds a run and `resume` is off;
    FileNotFoundError without the manifest; ValueError for a configuration that cannot be run or is not the one that the
    run in `out` was started with, or for other clips than its; RuntimeError if `on_epoch` raises: the epoch is saved,
    and can be resumed.
    """
    config, out = Config.load(config, **fields), Path(out)
    check_config(config)
    check_one_test_split(config)
    if config.method == BASELINE:
        config = replace(config, train=replace(config.train, **UNTRAINED))
    config = _rooted(config, root)
    if config.data.task in (*PIXEL_TASKS, *POINT_TASKS):
        return train_scenes(
            PixelRun if config.data.task in PIXEL_TASKS else PointRun, config, out, resume=resume, name=name,
            measured=measured, costs=costs, tested=tested, shown=shown, stop=stop, on_epoch=on_epoch,
        )  # fmt: skip
    if config.train.log == "tensorboard":
        need_tensorboard()
    rank = distributed.join(config.train.device)
    check_cache(config, rank.device)
    check_graphs(config, rank.device, rank.world)
    with opened(out, config, rank, resume=resume, tested=tested) as (folder, before, ended):
        if ended:
            if rank.first:
                Unchanged().check(folder, config)
            distributed.leave()
            return out
        clips = load_clips(config.data, Path())
        if rank.first or config.data.leaks == "stop":
            tell_problems(clips.problems, config.data.leaks)
        options, spent = options_of(config), 0.0
        if config.method == BASELINE:
            model, options, spent = fitted(config, clips, options, rank.device)
        else:
            model = new_model(config, clips).to(rank.device)
        counted = count.count(model, clips.typical)  # now: a method that cannot be counted should not be trained
        learned = lesson(config, clips, model) if config.distill.teachers and config.method != BASELINE else None
        clips = clips._replace(seen=learned.clips.seen) if learned else clips
        run = _Run(config, clips, model, rank, folder, learned, spent, counted.total)
        if rank.first:
            if before:
                folder.check_same_clips(clips.fingerprints, clips.labels)
                extend.extend(folder, config, before)
            key = learned.key if learned else None
            write_setup(folder, config, clips, options, name or config.method, key)
        with EpochProgress(config.train.epochs, shown=shown and rank.first) as progress:
            resumed = resume and config.method != BASELINE
            at = epochs.fit(run, progress, resume=resumed, stop=stop, on_epoch=on_epoch)
        if at is None:
            distributed.leave()
            return out
        distributed.wait(rank)
        model = run.scored
        read_weights(folder, model)
        test = run.predict("test") if tested and len(clips.splits["test"]) else None
        if rank.first:
            if tested and config.train.replay:  # a run whose test is left out is a trial
                replay.keep(folder, model, clips.splits["train"], config.train.replay)
            extractors = folder.read(ModelFacts).extractors
            encoders = encoders_gmacs(extractors, {name: clips.stored[name] for name in model.modalities})
            cost = cost_of(model, clips.typical, counted, measured=measured)
            cost = replace(cost, features_gmacs=encoders, **costs)
            run.write_result(at, name or config.method, run.predict_alone("valid"), test, cost)
        distributed.leave()
        return out


def _rooted(config: Config, root: str | Path) -> Config:
    """With the paths of its data relative to the current folder."""
    root = "" if root == Path() else root  # or a path would begin with ./ in one run and not in another

    def rooted(path: str) -> str:
        return os.path.join(root, path) if path else ""

    classes = {column: rooted(path) for column, path in config.data.classes.items()}
    teachers, unlabelled = [rooted(run) for run in config.distill.teachers], rooted(config.distill.unlabelled)
    return replace(
        config,
        data=replace(config.data, manifest=rooted(config.data.manifest), classes=classes),
        distill=replace(config.distill, teachers=teachers, unlabelled=unlabelled),
    )


def new_model(config: Config, clips: Clips) -> FusionModel:
    """The model of a configuration, with weights initialised from its seed or a checkpoint."""
    torch.manual_seed(config.seed)
    outputs = clips.labels.num_outputs
    model = build(config.method, clips.features, outputs, lengths=clips.longest, **options_of(config))
    if config.train.pretrained:
        pretrained.start(model, config.train.pretrained)
    return model


class _Run:
    """The training loop and its state."""

    def __init__(
        self,
        config: Config,
        clips: Clips,
        model: FusionModel,
        rank: distributed.Rank,
        folder: RunFolder,
        lesson: Lesson | None = None,
        spent: float = 0.0,
        macs: float = math.inf,
    ):
        """`spent`: seconds in which the baseline was fitted, which trains nothing here; `macs` of the model's forward
        pass of a typical clip."""
        self.config, self.clips, self.model, self.rank, self.folder = config, clips, model, rank, folder
        self.lesson, self.learned, self.spent = lesson, lesson.clips if lesson else clips, spent
        spec = config.train
        self.task: metrics.Task = clips.labels.task
        self.heads = clips.labels.heads
        self.network: nn.Module = _Network(model, with_cls=lesson is not None and lesson.cls is not None)
        if rank.world > 1:
            self.network = DistributedDataParallel(self.network)
        self.optimizer = new_optimizer(model.parameters(), spec)
        self.schedule = Schedule(self.optimizer, spec)
        self.mean = AveragedModel(model) if spec.ema or spec.swa else None
        self.learner = Learner(model, self.mean, self.optimizer, self.schedule)
        check_best(spec.best, clips.splits["valid"])
        check_balance(spec.balance, clips.labels)
        texts = [row.label for row in clips.splits["train"].rows]
        weights = class_weights(clips.labels, texts).to(rank.device) if spec.balance == "weights" else None
        drawn = [row.label for row in self.learned.splits["train"].rows]
        chances = sample_chances(clips.labels, drawn).tolist() if spec.balance == "sampler" else None
        self.loss = Loss(clips.labels, label_smoothing=spec.label_smoothing, weights=weights, distill=config.distill)
        self.plan = model.mixup_plan()
        sizes, size = self.learned.sizes["train"], spec.batch_size
        self.buckets = LengthBuckets(sizes, size, seed=config.seed, shuffle=True, chances=chances)
        self.kept = kept_features(config, self.learned, rank.device)
        self.graphs: StepGraphs | None = None
        if should_capture(config, rank.device, rank.world, macs):
            self.graphs = StepGraphs(self._passes, list(model.parameters()), Capture(rank.device))
        self.saved_at = time.monotonic()

    @property
    def scored(self) -> FusionModel:
        """The model that is validated, tested and saved: the weights' mean if there is one."""
        model = self.mean.module if self.mean and self.mean.n_averaged else self.model
        assert isinstance(model, FusionModel)
        return model

    @property
    def num_samples(self) -> int:
        return len(self.learned.splits["train"])

    def epoch(self, at: Position, progress: EpochProgress) -> Position:
        """One epoch, and the weights after it in their mean."""
        if self.config.method == BASELINE:
            loss = scores(self.predict("train"), self.clips.labels)["loss"]
            return replace(at, loss_sum=loss * self.num_samples, seconds=self.spent)
        at = self._epoch(at, progress)
        average(self.learner.mean, self.model, at.epoch, self.config.train)
        return at

    def _epoch(self, at: Position, progress: EpochProgress) -> Position:
        """The batches of one epoch that are not done yet."""
        batches, read_every = self.buckets.epoch(at.epoch), READ_EVERY[self.rank.device.type]
        loss_sum = torch.tensor(at.loss_sum, dtype=torch.float64, device=self.rank.device)
        start = time.monotonic()
        for drawn in on_device(self._draw(at, batches), self.rank.device, self.kept):
            loss_sum += self._step(at, drawn, total=len(batches[at.batch]), count=len(batches))
            at = replace(at, batch=at.batch + 1)
            save = time.monotonic() - self.saved_at > 60 * self.config.train.save_minutes
            if save or at.batch % read_every == 0 or at.batch == len(batches):
                loss = demand_finite(float(loss_sum), at.epoch, self.config.train.lr)
                now = time.monotonic()
                at, start = replace(at, loss_sum=loss, seconds=at.seconds + now - start), now
            progress.step(at.epoch, at.batch, len(batches))
            if save:
                self.save(at)
        return at

    def _draw(self, at: Position, batches: list[list[int]]) -> Iterator[Drawn]:
        """This process's share of the batches that are not done yet, augmented, each with its mixup."""
        spec = self.config.train
        mixing = spec.mixup_alpha > 0 and at.epoch >= spec.mixup_warmup
        for index, batch in enumerate(self._load("train", batches[at.batch :]), at.batch):
            # Processes must draw different dropout, but each the same again after a resume.
            step = at.epoch * len(batches) + index
            seed = (self.config.seed * 1_000_003 + step) * self.rank.world + self.rank.rank
            generator = torch.Generator().manual_seed(seed)
            batch = augment(
                batch, self.config.data, self.clips.stats, generator, self.clips.splits["train"].fit.patches
            )
            if self.graphs:
                batch = batch._replace(tokens=padded(batch.tokens, self.learned.longest))
            mix = None
            if mixing:
                mix = mixup.draw(batch.tokens, self.plan, alpha=spec.mixup_alpha, generator=generator, at=spec.mixup)
            yield Drawn(batch, mix, seed)

    def _step(self, at: Position, drawn: Drawn, *, total: int, count: int) -> Tensor:
        """One update; `total` samples over all processes. Returns their summed loss, on the device."""
        spec, (batch, mix, seed) = self.config.train, drawn
        torch.manual_seed(seed)
        self.network.train()
        taught = self.lesson.of(batch.ids) if self.lesson else None
        # Or else this process got a duplicate sample, see `_load`.
        here = len(batch.ids) if total > self.rank.rank else 0
        # DDP averages gradients over processes: this makes the average the mean over the whole batch.
        loss = (self.graphs or self._passes)(batch.tokens, batch.labels, mix, taught, here, self.rank.world / total)
        if spec.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), spec.clip)
        self.schedule.before_step(at.epoch * count + at.batch, count)
        self.optimizer.step()
        if self.mean and spec.ema:
            update_mean(self.mean, self.model, spec.ema)
        return distributed.sum_over(loss, self.rank)

    def _passes(
        self,
        tokens: dict[str, Tokens],
        labels: Tensor,
        mix: mixup.Mix | None,
        taught: Taught | None,
        here: int,
        share: float,
    ) -> Tensor:
        """The summed loss of a batch of which `here` samples count; leaves `share` times its gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            outputs, penalty, cls = self.network(tokens, mix)
        each = self.loss(outputs, labels, mix, taught, cls)
        if not here:
            each = each * 0
        ((each.sum() + penalty * here) * share).backward()
        return each.detach().sum()

    def _load(self, split: str, batches: list[list[int]]) -> Iterator[Batch]:
        """This process's share of each batch.

        A batch of fewer samples than processes leaves some without any; they get a duplicate of its first,
        because all must run backward together.
        """
        rank, spec = self.rank, self.config.train
        shares = [batch[rank.rank :: rank.world] or batch[:1] for batch in batches]
        if self.kept:
            return map(self.kept.places, shares)
        loader = DataLoader(
            self.learned.splits[split],
            batch_sampler=shares,
            num_workers=spec.workers,
            collate_fn=_Collate(self.clips.features),
        )
        return iter(loader)

    def predict(self, split: str) -> Predicted:
        """Outputs for a split, shared among the processes; each gets all of them."""
        return self._predict(split, self.rank)

    def predict_alone(self, split: str) -> Predicted | None:
        """Outputs for a split by this process alone; None for an empty split."""
        if not len(self.clips.splits[split]):
            return None
        return self._predict(split, distributed.Rank(0, 1, self.rank.device))

    @torch.inference_mode()
    def _predict(self, split: str, rank: distributed.Rank) -> Predicted:
        data = self.clips.splits[split]
        size = self.config.train.batch_size
        batches = LengthBuckets(self.clips.sizes[split], size, seed=0, shuffle=False).epoch(0)
        mine = [share for batch in batches if (share := batch[rank.rank :: rank.world])]
        labels = torch.stack([data.labels.encode(row.label) for row in data.rows]).to(rank.device)
        exchanges = ExchangeCount(self.scored.layers)
        probe = exchanges if exchanges.layers else None
        outputs = self.clips.labels.num_outputs
        with self._precision():
            logits = multiclip.predict(self.scored, data, data.fit, outputs, batches=mine, probe=probe)
        if probe:
            exchanges.counts = distributed.sum_over(exchanges.counts.to(rank.device), rank)
        ids = [row.id for row in data.rows]
        return Predicted(distributed.sum_over(logits, rank), labels, ids, exchanges.shares)

    def valid_scores(self) -> Scores:
        if not len(self.clips.splits["valid"]):
            return {}
        valid = self.predict("valid")
        shares = {f"exchanged_{layer}": share for layer, share in valid.exchanged.items()}
        return {**scores(valid, self.clips.labels), **shares}

    def write_result(
        self, at: Position, name: str, valid: Predicted | None, test: Predicted | None, cost: Cost
    ) -> None:
        """The end of a run: calibration.json, predictions.csv and result.json, by the outputs of its best weights."""
        clips, split, last = self.clips, self.config.data.split, self.folder.epochs()[-1]
        shown, rows = valid or test, {name: data.rows for name, data in clips.splits.items()}
        if valid and (calibration := calibrate(valid.logits, valid.labels, clips.labels)):
            self.folder.write(calibration)
        result = Result(
            method=self.config.method,
            name=name,
            seed=self.config.seed,
            fold=split.number,
            task=self.task,
            classes=list(clips.labels.classes),
            data=self.config.data.manifest,
            epochs=last.epoch,
            best_epoch=at.best_epoch,
            seconds=last.seconds,
            valid=scores(valid, clips.labels),
            test={},
            splits={name: len(data) for name, data in clips.splits.items()},
            clips=clips.fingerprints,
            skipped=len(clips.skips),
            cost=cost,
            warnings=[*at.warnings, *["one group alone validates"] * bool(lone_judge(rows)), *leaks_in(clips.problems)],
            teachers=teachers_of(self.config, clips),
            heads=self.heads or None,
            exchanged=(shown.exchanged or None) if shown else None,
        )
        write_result(self.folder, result, test, clips.labels)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.rank.device.type, torch.bfloat16, enabled=self.config.train.precision == "bfloat16")

    def save(self, at: Position) -> None:
        """Writes the checkpoint to resume from; only the first process does, for all hold the same."""
        self.saved_at = time.monotonic()
        if self.rank.first:
            self.learner.save(self.folder.checkpoint, at)

    def save_best(self, at: Position) -> None:
        if self.rank.first:
            facts = {"epoch": at.best_epoch, f"valid_{score_of(self.config.train.best)}": at.best_score}
            write_weights(self.folder, self.scored, self.clips.stats, facts)


class _Network(nn.Module):
    """The model as training calls it; processes synchronise around a module's `forward`."""

    def __init__(self, model: FusionModel, *, with_cls: bool = False):
        super().__init__()
        self.model, self.with_cls = model, with_cls

    def forward(self, tokens: dict[str, Tokens], mix: mixup.Mix | None) -> tuple[HeadOutputs, Tensor, Tensor | None]:
        """The outputs, the penalty and, if asked for, the CLS that the head reads (B, D)."""
        if not self.with_cls:
            return *self.model.training_outputs(tokens, mix), None
        state = self.model.encode(tokens, mix)
        return *self.model.head_outputs(state), read_cls(self.model, state)


class _Collate:
    """Collates on worker processes too, so it must be picklable: a class, not a closure."""

    def __init__(self, features: dict[str, int]):
        self.features = features

    def __call__(self, samples: list[Any]) -> Batch:
        return collate(samples, self.features)
