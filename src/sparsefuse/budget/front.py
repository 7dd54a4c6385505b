"""The Pareto front and the finalists of a search, and their tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sparsefuse.budget.limits import BudgetLimits
from sparsefuse.budget.trials import Goal, Trial
from sparsefuse.files.rows import csv_text
from sparsefuse.files.whole import write_text
from sparsefuse.runs.summary import METRICS, UNITS, Stat, spread
from sparsefuse.shown import markdown_table

if TYPE_CHECKING:
    from rich.table import Table


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
    """of the validation split, one a seed"""

    @property
    def stat(self) -> Stat:
        """Mean and deviation over the seeds."""
        return spread(self.scores)


class Sheet(NamedTuple):
    """A table of trials."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def write_csv(self, path: Path) -> None:
        """Writes it as CSV."""
        write_text(path, csv_text([self.header, *self.rows]))

    def markdown(self) -> str:
        """The table in Markdown, below its title."""
        return f"{self.title}\n\n" + markdown_table([self.header, *self.rows], [":--"] * len(self.header))

    def rich(self) -> "Table":
        """The table for the screen, without the options, which are long."""
        from rich.table import Table

        table = Table(title=self.title, title_justify="left")
        for name in self.header[:-1]:
            table.add_column(name, justify="left" if name in ("method", "state") else "right")
        for row in self.rows:
            table.add_row(*row[:-1])
        return table


def sheet_of_trials(title: str, trials: Sequence[Trial], goal: Goal) -> Sheet:
    """A row per trial: its validation score, its costs and its options."""
    costs = [name for name in UNITS if any(name in trial.candidate.costs for trial in trials)]
    rows = [
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
    return Sheet(title, ["trial", "method", "state", _title(goal), *map(UNITS.__getitem__, costs), "options"], rows)


def sheet_of_finalists(title: str, finalists: Sequence[Finalist], goal: Goal) -> Sheet:
    """The same for finalists: mean ± deviation over their seeds."""
    plain = sheet_of_trials(title, [finalist.trial for finalist in finalists], goal)
    rows = [
        [*row[:2], str(len(finalist.scores)), shown(goal, finalist.stat), *row[4:]]
        for row, finalist in zip(plain.rows, finalists, strict=True)
    ]
    return plain._replace(header=[*plain.header[:2], "n", *plain.header[3:]], rows=rows)


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
