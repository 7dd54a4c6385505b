"""Trials: candidates in, short training runs of them out, the poor ones stopped early. None sees the test split."""

import logging
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.proposals import Candidate, Proposals
from sparsefuse.config import Config, Split
from sparsefuse.experiments.grid import Cell, run_cell
from sparsefuse.experiments.progress import GridProgress
from sparsefuse.experiments.variants import Variant
from sparsefuse.parallel.cores import threads
from sparsefuse.parallel.workers import each
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import METRICS
from sparsefuse.training.unchanged import Unchanged

log = logging.getLogger(__name__)

RIVALS = 4  # with fewer cheaper trials the median is too noisy to stop by


class Goal(NamedTuple):
    """The objective of trials: a score of the validation split."""

    name: str
    """top1, map or mae"""

    @property
    def sign(self) -> int:
        """+1 if higher is better, -1 if lower is."""
        return 1 if METRICS[self.name].higher_is_better else -1

    def curve(self, folder: Path) -> tuple[float, ...]:
        """The best score up to each epoch of the run in `folder`."""
        best, curve = -math.inf, []
        for epoch in RunFolder(folder).epochs():
            best = max(best, self.sign * epoch.scores[f"valid_{self.name}"])
            curve.append(self.sign * best)
        return tuple(curve)


class Trial(NamedTuple):
    """A candidate and its score."""

    number: int
    candidate: Candidate
    state: Literal["finished", "stopped", "failed"]
    score: float
    """of the validation split (the mean over folds): at the epoch whose weights were kept, or the best so far if
    stopped; NaN if failed"""
    curves: tuple[tuple[float, ...], ...]
    """the best score up to each epoch, of each fold"""

    @property
    def name(self) -> str:
        """`sft 007`: what its run is called."""
        return name_of(self.number, self.candidate)


def name_of(number: int, candidate: Candidate) -> str:
    """What a trial's run, and its finalists', are called."""
    return f"{Path(candidate.method).stem} {number:03d}"


class MedianPruner(NamedTuple):
    """Whether to stop a run: its best score so far is worse than the median of its rivals at the same epoch.

    Rivals are earlier trials that cost no more: a cheap trial may be on the front though more expensive ones score
    higher. (Optuna's pruners do not support studies with several objectives.)
    """

    goal: Goal
    rivals: tuple[tuple[float, ...], ...]
    """their curves"""
    epochs: int
    """of a full run; no run is stopped before a third of them"""

    def __call__(self, folder: Path) -> bool:
        curve = self.goal.curve(folder)
        if not max(self.epochs / 3, 1) <= len(curve) < self.epochs:
            return False
        reached = [rival[len(curve) - 1] for rival in self.rivals if len(rival) >= len(curve)]
        if len(reached) < RIVALS:
            return False
        return self.goal.sign * curve[-1] < self.goal.sign * statistics.median(reached)


class Trials(NamedTuple):
    """Runs trials."""

    config: Config
    """with the epochs of a trial"""
    limits: BudgetLimits
    goal: Goal
    out: Path
    """holds a run folder per trial: 000, 001, ...; with folds, one per trial and fold: 000-fold0, ..."""
    root: Path
    wanted: int
    """how many trials"""
    jobs: int
    round: int
    """trials that are proposed together; the next proposals depend on all of them, so the search is the same for any
    number of jobs"""

    def run(self, proposals: Proposals) -> list[Trial]:
        """Runs trials, round by round, until there are `wanted` or no new candidate is within the budget.

        A trial that ended in an earlier call is not run again.
        """
        done: list[Trial] = []
        unchanged = Unchanged()
        folders = [folder for number in range(self.wanted) for folder, _ in self._folds(number)]
        epochs = self.config.train.epochs
        with GridProgress(dict.fromkeys(folders, epochs), what="runs" if self._folds(0)[1:] else "trials") as progress:
            while len(done) < self.wanted:
                missing = min(self.round, self.wanted - len(done))
                candidates = [candidate for _ in range(missing) if (candidate := proposals.ask())]
                begun = len(done)
                rounds = [self._cells(number, each, done) for number, each in enumerate(candidates, begun)]
                errors = dict[Path, str]()
                for cell, error in self._train([cell for cells in rounds for cell in cells], progress, unchanged):
                    errors[cell.folder] = error
                    progress.ended.add(cell.folder)
                for candidate, cells in zip(candidates, rounds, strict=True):
                    trial = self._ended(len(done), candidate, cells, errors)
                    done.append(trial)
                    log.info("%s", self._say(trial))
                    proposals.tell(candidate, None if trial.state == "failed" else trial.score)
                progress.note = self._note(done, proposals.rejected)
                progress.update()
                if len(candidates) < missing:
                    log.warning(
                        "only %d different candidates are within the budget; the search ends with them", len(done)
                    )
                    break
        return done

    def _folds(self, number: int) -> list[tuple[Path, Split]]:
        """Where a trial's runs are, and how their clips are divided."""
        splits = self.config.data.split.each_fold()
        if len(splits) == 1:
            return [(self.out / f"{number:03d}", splits[0])]
        return [(self.out / f"{number:03d}-fold{fold}", split) for fold, split in enumerate(splits)]

    def _cells(self, number: int, candidate: Candidate, done: Sequence[Trial]) -> list[Cell]:
        name = name_of(number, candidate)
        whole = Variant(name, candidate.method, candidate.options).of(self.config, self.config.seed)
        rivals = [trial.curves for trial in done if trial.curves and self._no_dearer(trial, candidate)]
        cells = []
        for fold, (folder, split) in enumerate(self._folds(number)):
            config = replace(whole, data=replace(whole.data, split=split))
            pruner = MedianPruner(self.goal, tuple(curves[fold] for curves in rivals), self.config.train.epochs)
            cells.append(Cell(name, config, folder, self.root, threads(self.jobs), tested=False, stop=pruner))
        return cells

    def _no_dearer(self, trial: Trial, candidate: Candidate) -> bool:
        mine, other = self.limits.shares(candidate.costs), self.limits.shares(trial.candidate.costs)
        return all(other[name] <= share for name, share in mine.items())

    def _train(self, cells: Sequence[Cell], progress: GridProgress, unchanged: Unchanged) -> Iterator[tuple[Cell, str]]:
        """Trains the cells that did not end before; yields each as it ends, and its error, or "".

        Raises ValueError if a cell exists already with another configuration: with another version of Optuna or
        PyTorch, a resumed search may diverge. So if one ended with other clips, which are not read again.
        """
        open_cells = []
        for cell in cells:
            if cell.run.started:
                cell.run.check_same(cell.config)
            if cell.run.finished or (cell.stop and cell.stop(cell.folder)):
                unchanged.check(cell.run, cell.config, cell.root)
                yield cell, ""
            else:
                open_cells.append(cell)
        if open_cells:
            with closing(each(run_cell, open_cells, self.jobs, waiting=progress.update)) as ended:
                for cell, result in ended:
                    yield cell, result.error if result else "its process died"
                    progress.update()

    def _ended(self, number: int, candidate: Candidate, cells: Sequence[Cell], errors: Mapping[Path, str]) -> Trial:
        for cell in cells:
            if errors[cell.folder]:
                log.error("%s: %s", cell.folder, errors[cell.folder])
                return Trial(number, candidate, "failed", math.nan, ())
        curves = tuple(self.goal.curve(cell.folder) for cell in cells)
        scores = [
            cell.run.read(Result).valid[self.goal.name] if cell.run.finished else curve[-1]
            for cell, curve in zip(cells, curves, strict=True)
        ]
        state = "finished" if all(cell.run.finished for cell in cells) else "stopped"
        return Trial(number, candidate, state, statistics.fmean(scores), curves)

    def _say(self, trial: Trial) -> str:
        """`sft 007: top1 0.912 with 0.0048 of 0.005 GMACs; stopped after 9 epochs`."""
        if trial.state == "failed":
            return f"{trial.name} failed"
        text = f"{trial.name}: {self.goal.name} {trial.score:.3f} with {self.limits.say(trial.candidate.costs)}"
        return text + (f"; stopped after {min(map(len, trial.curves))} epochs" if trial.state == "stopped" else "")

    def _note(self, done: Sequence[Trial], rejected: int) -> str:
        """`best 0.912, 3 stopped, 41 over budget`."""
        scores = [self.goal.sign * trial.score for trial in done if trial.state == "finished"]
        best = f"best {abs(max(scores)):.3f}, " if scores else ""
        return f"{best}{sum(trial.state == 'stopped' for trial in done)} stopped, {rejected} over budget"
