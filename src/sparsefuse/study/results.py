"""A study's folder comes in; its finished runs, experiment by experiment, come out. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sparsefuse.files.typed import read
from sparsefuse.runs.answers import read_answers
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.summary import Row, Run, Stat, by_name, read_runs, spread, summarise


@dataclass(frozen=True)
class Place:
    """A variant in an experiment; see `plan.Entry`."""

    name: str
    curve: str
    factor: int


Kind = Literal["noise", "dropped", "missing"]
ROBUSTNESS = "robustness.json"


@dataclass(frozen=True)
class DegradedAccuracy:
    """The accuracy of a run under one degradation of its test clips."""

    modality: str
    kind: Kind
    level: float
    """0 = not degraded"""
    top1: float


@dataclass(frozen=True)
class _Study:
    """study.json; see `conduct.facts`."""

    experiments: Mapping[str, list[Place]]
    modalities: list[str]
    margin: float


class Answers(NamedTuple):
    """The predictions of a run for the test clips, by id."""

    right: dict[str, bool]
    confidence: dict[str, float]
    """probability of the predicted class"""


class Results:
    """The runs of a study's folder; a variant without a finished run is missing, not an error."""

    def __init__(self, folder: Path):
        if not (folder / "study.json").is_file():
            raise FileNotFoundError(
                f"{folder} is not a study: it has no study.json; expected what `sparsefuse study` wrote"
            )
        study = read(_Study, folder / "study.json")
        self.margin, self.modalities, self.plan = study.margin, study.modalities, study.experiments
        self.runs: list[Run] = read_runs(folder / "runs")
        self.by_name = by_name(self.runs)
        self._read: dict[Path, Answers] = {}

    @property
    def finished(self) -> list[Run]:
        """All runs that have a result."""
        return [run for runs in self.by_name.values() for run in runs]

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The line of every variant."""
        return {row.name: row for row in summarise(self.runs)}

    def places(self, experiment: str) -> list[Place]:
        """The finished variants of an experiment; none if it is not part of the study."""
        return [place for place in self.plan.get(experiment, []) if place.name in self.by_name]

    def curves(self, experiment: str) -> dict[str, list[Place]]:
        """The finished variants of an experiment by curve, from the smallest factor."""
        by_curve: dict[str, list[Place]] = {}
        for place in self.places(experiment):
            by_curve.setdefault(place.curve, []).append(place)
        return {curve: sorted(places, key=lambda place: place.factor) for curve, places in by_curve.items()}

    @property
    def unfinished(self) -> list[str]:
        """Variants that have no finished run yet."""
        names = dict.fromkeys(place.name for places in self.plan.values() for place in places)
        return [name for name in names if name not in self.by_name]

    def top1(self, name: str) -> Stat:
        """Mean over seeds, and deviation."""
        return self.rows[name].metrics["top1"]

    def valid_top1(self, name: str) -> float:
        """Mean over runs on the validation split, for choices."""
        return float(np.mean([run.result.valid["top1"] for run in self.by_name[name]]))

    def hits(self, *names: str) -> dict[str, np.ndarray]:
        """1 for a correct prediction, (S, N): the seeds and clips that all names have.

        With folds a seed's clips are those of all folds.
        """
        answers = {name: self._answers(name) for name in dict.fromkeys(names)}
        seeds = sorted(set.intersection(*(set(answer) for answer in answers.values())))
        clips = sorted(set.intersection(*(set(answers[name][seed]) for name in answers for seed in seeds)))
        return {
            name: np.array([[answer[seed][clip] for clip in clips] for seed in seeds], dtype=float)
            for name, answer in answers.items()
        }

    def paired_top1(self, *names: str) -> dict[str, Stat]:
        """Mean and deviation over the seeds that all names have: so that they can be compared."""
        return {name: spread([float(share) for share in hit.mean(1)]) for name, hit in self.hits(*names).items()}

    def _answers(self, name: str) -> dict[int, dict[str, bool]]:
        """Seed -> clip -> whether the prediction was correct."""
        by_seed: dict[int, dict[str, bool]] = {}
        for run in self.by_name[name]:
            by_seed.setdefault(run.result.seed, {}).update(self.answers(run).right)
        return by_seed

    def answers(self, run: Run) -> Answers:
        """predictions.csv of a run; cached, since most claims and tables use it."""
        if run.folder not in self._read:
            self._read[run.folder] = _answers(RunFolder(run.folder).predictions)
        return self._read[run.folder]

    def robustness(self, name: str) -> list[list[DegradedAccuracy]]:
        """robustness.json of every run that has one."""
        files = (run.folder / ROBUSTNESS for run in self.by_name[name])
        return [read(list[DegradedAccuracy], path) for path in files if path.is_file()]


def _answers(path: Path) -> Answers:
    answers = list(read_answers(path))
    right = {answer.id: answer.predicted == answer.label for answer in answers}
    return Answers(right, {answer.id: answer.shares[answer.predicted] for answer in answers})
