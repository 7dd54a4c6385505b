"""The Pareto front and the finalists of a search, and their tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.trials import Goal, Trial
from sparsefuse.report.table import Table
from sparsefuse.runs.summary import METRICS, UNITS, Stat, spread


def front_of(trials: Sequence[Trial], limits: BudgetLimits, goal: Goal) -> list[Trial]:
    """The finished trials that no other beats: better in score or cost, worse in none. Best score first."""

    def losses(trial: Trial) -> tuple[float, ...]:
        return (-goal.sign * trial.score, *limits.shares(trial.candidate.costs).values())

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    finished = [trial for trial in trials if trial.state == "finished"]
    front = [t for t in finished if not any(beats(losses(other), losses(t)) for other in finished)]
    return sorted(front, key=lambda trial: order(trial.score, trial, limits, goal))


def order(score: float, trial: Trial, limits: BudgetLimits, goal: Goal) -> tuple[float, float]:
    """Sorts by score, best first; of equal ones the cheaper (by the limit it is nearest to) comes first."""
    return -goal.sign * score, max(limits.shares(trial.candidate.costs).values())


def finalists_of(trials: Sequence[Trial], limits: BudgetLimits, goal: Goal, count: int) -> list[Trial]:
    """Those worth training with several seeds: the best of all that finished; of several methods, the best of each.

    Not of the front alone: one score is too noisy to rule out a trial that is slightly worse and more expensive.
    """
    finished = [trial for trial in trials if trial.state == "finished"]
    ranked = sorted(finished, key=lambda trial: order(trial.score, trial, limits, goal))
    methods = list(dict.fromkeys(trial.candidate.method for trial in trials))
    if len(methods) == 1:
        return ranked[:count]
    return [
        next(t for t in ranked if t.candidate.method == m) for m in methods if m in {t.candidate.method for t in ranked}
    ]


class Finalist(NamedTuple):
    """A trial that was trained for all epochs, with several seeds."""

    trial: Trial
    scores: list[float]
    """of the validation split, one a seed (the mean over folds); of a single seed, one a fold"""

    @property
    def stat(self) -> Stat:
        """Mean and deviation over them."""
        return spread(self.scores)


def table_of_trials(title: str, trials: Sequence[Trial], goal: Goal, *, ranked: bool = True) -> Table:
    """A line per trial: its validation score, its costs and its options; `ranked`: they are ordered by the score."""
    costs = [name for name in UNITS if any(name in trial.candidate.costs for trial in trials)]
    lines = [
        [
            f"{t.number:03d}",
            Path(t.candidate.method).stem,
            t.state,
            "" if t.state == "failed" else _score(goal, t.score),
        ]
        + [f"{t.candidate.costs[name]:.4g}" for name in costs]
        + [_options(t.candidate.options)]
        for t in trials
    ]
    head = ["trial", "method", "state", _title(goal), *map(UNITS.__getitem__, costs), "options"]
    fitting = list(range(len(head) - 1))  # options are long
    return Table(title, head, lines, main=3 if ranked else None, text_columns=3, fitting=fitting)


def table_of_finalists(title: str, finalists: Sequence[Finalist], goal: Goal) -> Table:
    """The same for finalists: mean ± deviation over their seeds."""
    plain = table_of_trials(title, [finalist.trial for finalist in finalists], goal)
    lines = [
        [*line[:2], str(len(finalist.scores)), shown(goal, finalist.stat), *line[4:]]
        for line, finalist in zip(plain.lines, finalists, strict=True)
    ]
    return replace(plain, head=[*plain.head[:2], "n", *plain.head[3:]], lines=lines, text_columns=2)


def shown(goal: Goal, stat: Stat) -> str:
    """`91.2 ± 0.8`."""
    return _score(goal, stat.mean) + ("" if stat.std is None else f" ± {_score(goal, stat.std)}")


def _title(goal: Goal) -> str:
    return f"valid {METRICS[goal.name].title}" + " %" * METRICS[goal.name].share


def _score(goal: Goal, value: float) -> str:
    return f"{100 * value:.1f}" if METRICS[goal.name].share else f"{value:.4g}"


def _options(options: Mapping[str, object]) -> str:
    """`keep=(rgb=12, sound=20), sparse=local`."""
    parts = {
        name: "(" + ", ".join(f"{k}={v}" for k, v in value.items()) + ")" if isinstance(value, Mapping) else value
        for name, value in options.items()
    }
    return ", ".join(f"{name}={value}" for name, value in parts.items())
