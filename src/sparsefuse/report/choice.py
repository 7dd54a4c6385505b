"""What a run was chosen among: the record in, a table and a sentence out."""

import math

from sparsefuse.report.table import Table
from sparsefuse.runs.records import Candidate, Choice
from sparsefuse.runs.summary import METRICS


def table_of_choice(choice: Choice) -> Table:
    """A line per candidate, the chosen one first."""
    shown = METRICS[choice.metric]
    lines = [
        [
            one.name,
            str(one.epochs) if one.epochs else "",
            _score(choice.metric, one.score),
            _interval(choice.metric, one),
            "" if one.gmacs is None else f"{one.gmacs:.3g}",
            one.left_out,
        ]
        for one in choice.candidates
    ]
    head = ["candidate", "epochs", f"valid {shown.title}{' %' * shown.share}", "95 %", "GMACs", "left out"]
    return Table("Chosen among", head, lines, main=2)


def sentence(choice: Choice) -> str:
    """What was chosen among what, and what was left out."""
    tried = [one for one in choice.candidates if not one.left_out]
    scores = "; ".join(
        f"{one.name} {_score(choice.metric, one.score)}{f' ({_interval(choice.metric, one)})' * bool(one.interval)}"
        for one in tried
    )
    of = "" if choice.limit is None else f" of {_minutes(choice.limit)}"
    after = f" after {tried[0].epochs} epochs" if tried[0].epochs else ""  # an ensemble is not trained
    text = f"kept {tried[0].name}{after}, by {METRICS[choice.metric].title} on {choice.clips} "
    level = " (95 %)" * any(one.interval for one in tried)
    text += f"validation clips{level}: {scores}; {_minutes(choice.seconds)}{of}"
    left = "; ".join(f"{one.name} ({one.left_out.splitlines()[0]})" for one in choice.candidates if one.left_out)
    return f"{text}; left out: {left}" if left else text


def _score(metric: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f}" if METRICS[metric].share else f"{value:.3g}"


def _interval(metric: str, one: Candidate) -> str:
    return " to ".join(_score(metric, end) for end in one.interval or ())


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{math.floor(seconds / 60)} min"
