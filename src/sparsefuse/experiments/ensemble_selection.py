"""Several candidates as one: finished runs in, those whose mean is better than the best alone out.

Members are taken one by one (Caruana et al. 2004): each time the one by which the calibrated mean says most of the
validation clips, until none adds to it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sparsefuse import metrics
from sparsefuse.data.labels import Labels
from sparsefuse.experiments.grid import Cell, Collected
from sparsefuse.inference.evaluate import open_run, outputs
from sparsefuse.runs.calibration import calibrate
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ENSEMBLE, Calibration, Choice, Result

log = logging.getLogger(__name__)

OTHERS = "others"
"""the folder, in that of a search's run, of the candidates that were not chosen"""
POOL = 6
"""of the best candidates may be members"""
MOST = 3
"""members"""


class Selection(NamedTuple):
    """An ensemble that is better than each of its members on the validation clips."""

    members: list[Cell]
    gmacs: float
    score: float

    @property
    def name(self) -> str:
        """`ensemble of late and sft`"""
        *names, last = (cell.name for cell in self.members)
        return f"{ENSEMBLE} of {', '.join(names)} and {last}"


class _Said(NamedTuple):
    """What a run says of the validation clips."""

    logits: Tensor
    """(n, C), calibrated"""
    labels: Tensor
    ids: list[str]
    label_set: Labels


def select_ensemble(ranked: Sequence[Cell], main: str, gmacs: float | None) -> Selection | None:
    """Of finished runs, best first, those that are better together, at `gmacs` a clip at most; None if none are. Of
    classes alone: the share of clips that are right (`main` top1) must be higher than that of the best run."""
    if main != "top1" or len(ranked) < 2:
        return None
    cost = {cell.name: cell.run.read(Result).cost.gmacs for cell in ranked[:POOL]}
    said = {cell.name: found for cell in ranked[:POOL] if (found := _said(cell.folder))}
    first = ranked[0]
    if first.name not in said:
        return None
    pool = [cell for cell in ranked[1:POOL] if cell.name in said and said[cell.name].ids == said[first.name].ids]
    members = [first]
    while len(members) < MOST and pool:
        spent = sum(cost[cell.name] for cell in members)
        pool = [cell for cell in pool if gmacs is None or spent + cost[cell.name] <= gmacs]
        losses = [_loss([said[cell.name] for cell in (*members, more)]) for more in pool]
        if not losses or min(losses) >= _loss([said[cell.name] for cell in members]):
            break
        members.append(pool.pop(losses.index(min(losses))))
    score = _top1([said[cell.name] for cell in members])
    if len(members) < 2 or score <= _top1([said[first.name]]):
        return None
    return Selection(members, sum(cost[cell.name] for cell in members), score)


def members_in(out: Path) -> list[RunFolder]:
    """The members of the ensemble that the search in `out` has chosen; none if it chose another model."""
    choice = RunFolder(out).get(Choice)
    if choice is None or not choice.members:
        return []
    found = {result.name: folder for folder in map(RunFolder, sorted((out / OTHERS).iterdir()))
             if (result := folder.get(Result))}  # fmt: skip
    return [found[name] for name in choice.members]


def _said(folder: Path) -> _Said | None:
    try:
        with Collected():  # warnings of the same clips again
            opened = open_run(folder, split="valid")
    except ValueError as error:  # such as clips without any stream that it reads
        log.info("%s is in no ensemble: %s", folder.name, error)
        return None
    logits, labels = outputs(opened)
    calibration = RunFolder(folder).get(Calibration)
    logits = logits / (calibration.temperature if calibration else 1.0)
    return _Said(logits, labels, [row.id for row in opened.data.rows], opened.predictor.labels)


def _loss(said: Sequence[_Said]) -> float:
    """Of the mean, calibrated."""
    found = calibrate(_mean(said), said[0].labels, said[0].label_set)
    assert found is not None
    return found.loss


def _top1(said: Sequence[_Said]) -> float:
    return metrics.scores(_mean(said), said[0].labels, said[0].label_set.task, heads=said[0].label_set.heads)["top1"]


def _mean(said: Sequence[_Said]) -> Tensor:
    return sum((one.logits for one in said), 0 * said[0].logits) / len(said)
