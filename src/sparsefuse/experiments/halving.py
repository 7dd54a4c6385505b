"""Successive halving (Jamieson and Talwalkar 2016): candidates in; few epochs for all, more for the better half, all
epochs for the last two. A run goes on from where it was left, so no epoch is trained twice.

The cheapest is trained first, and every run that comes out has its results: when time is up, the best is usable. What
has one epoch takes no place among those that are halved; it is ranked with the last.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from statistics import fmean
from typing import NamedTuple

from sparsefuse.config import Config
from sparsefuse.experiments.clock import Clock
from sparsefuse.experiments.grid import Cell, check_unchanged, run_cell
from sparsefuse.experiments.progress import GridProgress
from sparsefuse.parallel.cores import threads
from sparsefuse.parallel.workers import each
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import METRICS
from sparsefuse.training import extend
from sparsefuse.training.best import better

log = logging.getLogger(__name__)


class Rung(NamedTuple):
    """So many runs are trained for one part of their epochs."""

    runs: int
    parts: int

    def of(self, cell: Cell) -> int:
        """The epochs of a run, rounded up."""
        return -(-cell.config.train.epochs // self.parts)


def rungs(runs: int, epochs: int) -> list[Rung]:
    """Half the runs for twice the epochs, until two get all: 7 runs for a quarter, 4 for a half, 2 for all; the first
    have one epoch at least."""
    counts = [runs]
    while counts[-1] > 2 and 2 ** len(counts) <= epochs:
        counts.append(-(-counts[-1] // 2))
    last = len(counts) - 1
    return [Rung(count, 2 ** (last - place)) for place, count in enumerate(counts)]


class Halving(NamedTuple):
    """Where and how candidates are trained."""

    main: str
    """the score of the validation clips that chooses"""
    clock: Clock
    jobs: int
    """runs at a time"""

    def run(self, cells: Sequence[Cell], gmacs: Sequence[float]) -> tuple[list[Cell], dict[str, str]]:
        """The runs of the last rung that was begun, and those of one epoch, best first, of equals the cheaper; and what
        failed, by name.

        `cells` have the epochs of the last rung; `gmacs` are their costs. Raises ValueError for a run that was started
        with another configuration or other clips.
        """
        cost = {cell.name: one for cell, one in zip(cells, gmacs, strict=True)}
        kept, failed = sorted(cells, key=lambda cell: cost[cell.name]), dict[str, str]()
        for cell in kept:
            if cell.run.started:
                cell.run.check_same(extend.with_epochs(cell.config, cell.run.read(Config).train.epochs))
        check_unchanged([cell for cell in kept if cell.run.started])
        at_once = [cell for cell in kept if cell.config.train.epochs == 1]  # such as a baseline: nothing to halve
        failed |= self._train(at_once)
        at_once = [cell for cell in at_once if cell.name not in failed and _has_learned(cell)]
        kept = [cell for cell in kept if cell.config.train.epochs > 1]
        rung = Rung(len(at_once), 1)
        for rung in rungs(len(kept), max((cell.config.train.epochs for cell in kept), default=1)):
            if not kept:
                break
            kept = kept[: rung.runs]
            failed |= self._train([_planned(cell, rung.of(cell)) for cell in kept], beside=at_once)
            kept = [cell for cell in kept if cell.name not in failed and _has_learned(cell)]
            kept = self._ranked(kept, rung, cost)
            if self.clock.up or not kept:
                break
            log.info("%s", self._say(kept, rung))
        kept = self._ranked([*kept, *at_once], rung, cost)
        for cell in kept:
            if not cell.run.finished:  # cut, now or by a kill, and worth what it has learned
                ended = cell._replace(config=extend.end(cell.run, cell.config), threads=threads())
                if error := run_cell(ended).error:
                    failed[cell.name] = error
        self.clock.note()
        return [cell for cell in kept if cell.name not in failed], failed

    def _ranked(self, cells: Sequence[Cell], rung: Rung, cost: Mapping[str, float]) -> list[Cell]:
        """Best first by what they had after a rung, of equals the cheaper."""
        sign = -1 if METRICS[self.main].higher_is_better else 1
        return sorted(cells, key=lambda cell: (sign * score_after(cell, rung.of(cell), self.main), cost[cell.name]))

    def _train(self, cells: Sequence[Cell], beside: Sequence[Cell] = ()) -> dict[str, str]:
        """Trains to the cells' epochs until time is up; returns what failed. `beside`: what is trained already."""
        failed = {}
        open_cells = [cell for cell in cells if not _has(cell)]
        jobs = min(self.jobs, max(len(open_cells), 1))
        ready = [cell._replace(stop=self.clock, threads=threads(jobs)) for cell in open_cells]
        begun = self._while_there_is_time(ready, [*cells, *beside])
        with (
            GridProgress({cell.folder: cell.config.train.epochs for cell in cells}) as progress,
            closing(each(run_cell, begun, jobs, waiting=progress.update)) as ended,
        ):
            for cell, result in ended:
                if error := result.error if result else "its process died":
                    failed[cell.name] = error
                    log.error("%s: %s", cell.folder, error)
                progress.update()
        return failed

    def _while_there_is_time(self, cells: Sequence[Cell], known: Sequence[Cell]) -> Iterator[Cell]:
        """The cells that may begin; if none that is known was trained, the first in any case: there must be a model."""
        for cell in cells:
            if self.clock.up and any(one.run.num_epochs for one in known):
                return
            yield cell

    def _say(self, kept: Sequence[Cell], rung: Rung) -> str:
        scores = ", ".join(f"{cell.name} {score_after(cell, rung.of(cell), self.main):.3f}" for cell in kept)
        part = f"1/{rung.parts} of the" if rung.parts > 1 else "all"
        return f"{METRICS[self.main].title} on the validation split after {part} epochs: {scores}"


def score_after(cell: Cell, epochs: int, main: str) -> float:
    """The validation score, after so many epochs, of the weights that were kept until then."""
    spec = cell.config.train
    lines = [epoch.scores for epoch in cell.run.epochs()[:epochs]]
    if not lines:  # what is not trained in epochs
        return cell.run.read(Result).valid[main]
    by = f"valid_{'loss' if spec.best == 'last' else spec.best}"
    means = [fmean(line[by] for line in lines[max(k - spec.best_over, 0) : k]) for k in range(1, len(lines) + 1)]
    kept = 0
    for epoch, score in enumerate(means):
        if better(spec.best, score, means[kept]):
            kept = epoch
    return lines[kept][f"valid_{main}"]


def _planned(cell: Cell, epochs: int) -> Cell:
    return cell._replace(config=extend.with_epochs(cell.config, epochs))


def _has_learned(cell: Cell) -> bool:
    return cell.run.finished or cell.run.num_epochs > 0


def _has(cell: Cell) -> bool:
    """Whether the run has these epochs: it ended with them, or goes on to more since an earlier call."""
    if not cell.run.started:
        return False
    epochs, wanted = cell.run.read(Config).train.epochs, cell.config.train.epochs
    return epochs > wanted or (epochs == wanted and cell.run.finished)
