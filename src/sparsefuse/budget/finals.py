"""The end of a search: the best trials are trained with several seeds; one is chosen, and only that one is tested."""

import dataclasses
import logging
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparsefuse.budget.front import Finalist, order
from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.sized import Samples, model_of, size_of
from sparsefuse.budget.trials import Goal, Trial
from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.cost.measure import measure_as as measure
from sparsefuse.experiments.grid import Cell, grid, run
from sparsefuse.experiments.refit import refit
from sparsefuse.experiments.variants import Variant
from sparsefuse.files.typed import read, write
from sparsefuse.parallel.devices import device_of
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts, Result
from sparsefuse.shown import counted
from sparsefuse.training.train import train

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """chosen.json: the trial, and the costs of its model measured at the end."""

    trial: int
    cost: Mapping[str, float]
    doubt: str = ""
    """why times cannot be trusted, and are not among them"""
    where: str = ""
    """what they were measured on"""

    @property
    def whole(self) -> dict[str, float | str]:
        """As `train` takes them."""
        return {**self.cost, "doubt": self.doubt, "where": self.where}


class Finals(NamedTuple):
    """Where and how finalists are trained."""

    config: Config
    """with the epochs of a full run"""
    limits: BudgetLimits
    goal: Goal
    seeds: Sequence[int]
    out: Path
    """of the search"""
    root: Path

    def run(self, trials: Sequence[Trial], jobs: int) -> list[Finalist]:
        """Trains every trial's options with every seed, untested; best mean first. Raises ValueError if all fail."""
        cells = self._cells(trials)
        failed = run(cells, jobs=jobs)
        finalists = []
        for trial in trials:
            runs = [cell.run for cell in cells if cell.name == trial.name]
            if all(run.finished for run in runs):
                scores = [run.read(Result).valid[self.goal.name] for run in runs]
                folds = len(scores) // len(self.seeds)  # seeds change slower
                means = [statistics.fmean(scores[k : k + folds]) for k in range(0, len(scores), folds)]
                finalists.append(Finalist(trial, means if len(means) > 1 else scores))
        if not finalists:
            raise ValueError("\n".join([f"no finalist finished; {counted(len(failed), 'run')} failed:", *failed]))
        return sorted(finalists, key=lambda f: order(f.stat.mean, f.trial, self.limits, self.goal))

    def choose(self, finalists: Sequence[Finalist], data: Samples) -> Finalist:
        """The best whose costs, measured again on the quiet machine, are within the budget; written to chosen.json.

        Raises ValueError if none does, or if a latency that has a limit cannot be trusted.
        """
        record = self.out / "chosen.json"
        if record.exists():
            return next(f for f in finalists if f.trial.number == read(Chosen, record).trial)
        over = []
        for finalist in finalists:
            config = self._cells([finalist.trial])[0].config
            model = model_of(data, config.method, finalist.trial.candidate.options).to(device_of(config.train.device))
            measured = measure(model, size_of(data))
            if "latency_ms" in self.limits.given and measured.latency_ms is None:
                raise ValueError(f"no latency can be measured: {measured.doubt}; run it again on a quiet machine")
            numbers = {name: value for name, value in measured._asdict().items() if isinstance(value, int | float)}
            costs = {**finalist.trial.candidate.costs, **numbers}
            if self.limits.kept(costs):
                write(record, Chosen(finalist.trial.number, costs, measured.doubt, measured.where))
                return finalist
            over.append(f"{finalist.trial.name} measures {self.limits.say(costs)}")
            log.warning("%s now, over the budget; trying the next best", over[-1])
        raise ValueError(
            f"measured again, no finalist is within the budget: {'; '.join(over)}. "
            "Run it again on a quiet machine, or with more --finalists in another folder"
        )

    def test(self, chosen: Finalist) -> Path:
        """The chosen run, with the first seed, and its scores on the test split: a finalist's copy, resumed. With
        folds, the folder of one for each."""
        cells, place = self._cells([chosen.trial]), self.out / "chosen"
        cells = cells[: len(cells) // len(self.seeds)]
        costs = read(Chosen, self.out / "chosen.json").whole
        for fold, cell in enumerate(cells):
            folder = place / f"fold{fold}" if len(cells) > 1 else place
            if not folder.exists():
                half = folder.with_name(f".{folder.name}")
                shutil.rmtree(half, ignore_errors=True)  # left by a killed search
                shutil.copytree(cell.folder, half, ignore=shutil.ignore_patterns(cell.run.file(Result).name))
                of_clips = cell.run.task not in PIXEL_TASKS
                for kind in (Config, ModelFacts) if of_clips else (Config,):  # whose paths lead from folders as deep
                    if cell.run.has(kind):
                        RunFolder(half).write_located(cell.run.read(kind))
                os.replace(half, folder)
            name = cell.name
            train(cell.config, folder, root=cell.root, resume=True, name=name, measured=False, costs=costs, shown=False)
        return place

    def refit(self, chosen: Finalist) -> Path:
        """The chosen options, trained on the clips that validated too; with folds, on all."""
        costs = read(Chosen, self.out / "chosen.json").whole
        runs = [cell.run for cell in self._cells([chosen.trial])]
        return refit(runs, self.out / "refit", measured=False, costs=costs)

    def whole_config(self, chosen: Finalist, config: Config) -> Config:
        """The chosen run's configuration, but with the folds and paths of `config`."""
        own = self._cells([chosen.trial])[0].config
        split = dataclasses.replace(config.data.split, seed=own.data.split.seed)
        return dataclasses.replace(own, data=dataclasses.replace(config.data, split=split))

    def _cells(self, trials: Sequence[Trial]) -> list[Cell]:
        variants = [Variant(t.name, t.candidate.method, t.candidate.options) for t in trials]
        cells = grid(self.config, variants, self.seeds, self.out / "finalists", root=self.root, tested=False)
        return [cell._replace(config=_other_clips(cell.config)) for cell in cells]


def _other_clips(config: Config) -> Config:
    """With other validation clips for every seed, if the test clips stay the same.

    Trials were chosen by their score on one draw, so the best score there is biased upwards.
    """
    split = config.data.split
    if not split.test_groups:
        return config
    split = dataclasses.replace(split, seed=split.seed + config.seed)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, split=split))
