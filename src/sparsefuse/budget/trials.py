"""Trials: candidates in, short training runs of them out, the poor ones stopped early. None sees the test split."""

import logging
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.proposals import Candidate, Proposals
from sparsefuse.config import Config
from sparsefuse.experiments.grid import Cell, run_cell
from sparsefuse.experiments.progress import GridProgress
from sparsefuse.experiments.variants import Variant
from sparsefuse.parallel.cores import threads
from sparsefuse.parallel.workers import each
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import METRICS

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
    """of the validation split: at the epoch whose weights were kept, or the best so far if stopped; NaN if failed"""
    curve: tuple[float, ...]
    """the best score up to each epoch"""

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
    """holds a run folder per trial: 000, 001, ..."""
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
        folders = [self.out / f"{number:03d}" for number in range(self.wanted)]
        epochs = self.config.train.epochs
        with GridProgress(dict.fromkeys(folders, epochs), what="trials") as progress:
            while len(done) < self.wanted:
                missing = min(self.round, self.wanted - len(done))
                candidates = [candidate for _ in range(missing) if (candidate := proposals.ask())]
                cells = [self._cell(number, candidate, done) for number, candidate in enumerate(candidates, len(done))]
                ended = {}
                for k, error in self._train(cells, progress):
                    ended[k] = self._ended(len(done) + k, candidates[k], cells[k], error)
                    progress.ended.add(cells[k].folder)
                    log.info("%s", self._say(ended[k]))
                for k, candidate in enumerate(candidates):
                    done.append(ended[k])
                    proposals.tell(candidate, None if ended[k].state == "failed" else ended[k].score)
                progress.note = self._note(done, proposals.rejected)
                progress.update()
                if len(candidates) < missing:
                    log.warning(
                        "only %d different candidates are within the budget; the search ends with them", len(done)
                    )
                    break
        return done

    def _cell(self, number: int, candidate: Candidate, done: Sequence[Trial]) -> Cell:
        name = name_of(number, candidate)
        config = Variant(name, candidate.method, candidate.options).of(self.config, self.config.seed)
        rivals = tuple(trial.curve for trial in done if trial.curve and self._no_dearer(trial, candidate))
        pruner = MedianPruner(self.goal, rivals, self.config.train.epochs)
        return Cell(name, config, self.out / f"{number:03d}", self.root, threads(self.jobs), tested=False, stop=pruner)

    def _no_dearer(self, trial: Trial, candidate: Candidate) -> bool:
        mine, other = self.limits.shares(candidate.costs), self.limits.shares(trial.candidate.costs)
        return all(other[name] <= share for name, share in mine.items())

    def _train(self, cells: Sequence[Cell], progress: GridProgress) -> Iterator[tuple[int, str]]:
        """Trains the cells that did not end before; yields the index and the error, or "", of each as it ends.

        Raises ValueError if a cell exists already with another configuration: with another version of Optuna or
        PyTorch, a resumed search may diverge.
        """
        places = {cell.folder: k for k, cell in enumerate(cells)}
        open_cells = []
        for cell in cells:
            if cell.run.started:
                cell.run.check_same(cell.config)
            if cell.run.finished or (cell.stop and cell.stop(cell.folder)):
                yield places[cell.folder], ""
            else:
                open_cells.append(cell)
        if open_cells:
            with closing(each(run_cell, open_cells, self.jobs, waiting=progress.update)) as ended:
                for cell, result in ended:
                    yield places[cell.folder], result.error if result else "its process died"
                    progress.update()

    def _ended(self, number: int, candidate: Candidate, cell: Cell, error: str) -> Trial:
        curve = self.goal.curve(cell.folder)
        if error:
            log.error("%s: %s", cell.folder, error)
            return Trial(number, candidate, "failed", math.nan, ())
        if not cell.run.finished:
            return Trial(number, candidate, "stopped", curve[-1], curve)
        score = cell.run.read(Result).valid[self.goal.name]
        return Trial(number, candidate, "finished", score, curve)

    def _say(self, trial: Trial) -> str:
        """`sft 007: top1 0.912 with 0.0048 of 0.005 GMACs; stopped after 9 epochs`."""
        if trial.state == "failed":
            return f"{trial.name} failed"
        text = f"{trial.name}: {self.goal.name} {trial.score:.3f} with {self.limits.say(trial.candidate.costs)}"
        return text + (f"; stopped after {len(trial.curve)} epochs" if trial.state == "stopped" else "")

    def _note(self, done: Sequence[Trial], rejected: int) -> str:
        """`best 0.912, 3 stopped, 41 over budget`."""
        scores = [self.goal.sign * trial.score for trial in done if trial.state == "finished"]
        best = f"best {abs(max(scores)):.3f}, " if scores else ""
        return f"{best}{sum(trial.state == 'stopped' for trial in done)} stopped, {rejected} over budget"
