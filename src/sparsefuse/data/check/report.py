"""What `check` found: sizes, balance and problems, as plain types for JSON too."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from sparsefuse.data.check.rules import RULES, Problem
from sparsefuse.data.stems import Proposal
from sparsefuse.shown import REASON, counted, shown

BINS = 24
FIRST = 3
"""problems of one kind in a report's text"""


class Spread(NamedTuple):
    """Smallest, median and largest of a size."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(min(values), median(values), max(values))


class Histogram(NamedTuple):
    """How many values lie between neighbouring edges."""

    edges: list[float]
    counts: list[int]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Histogram":
        """In equal steps, of whole numbers if the values are."""
        steps: int | np.ndarray = BINS
        if all(isinstance(value, int) for value in values):
            low, high = min(values), max(values)
            width = -(-(high - low + 1) // BINS)
            steps = np.arange(low - 0.5, high + width, width)
        counts, edges = np.histogram(values, steps)
        return cls(edges.tolist(), counts.tolist())


class Size(NamedTuple):
    """One modality: how many usable samples have it, their tokens N, and its features F."""

    samples: int
    tokens: Spread
    features: int


class Footage(NamedTuple):
    """One column of media: how many files can be read, and what they hold."""

    files: int
    seconds: Spread
    pictures: int
    """files with a picture"""
    sounds: int
    """files with sound"""
    sizes: dict[str, int]
    """`640x360` (width x height) -> files"""
    frame_rates: dict[str, int]
    """frames per second -> files"""
    sample_rates: dict[str, int]
    """samples per second -> files"""


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """What `check` found; `to_json` gives plain types, and `print` shows the first problems of every kind."""

    manifest: str
    rows: int
    modalities: dict[str, Size] = dataclasses.field(default_factory=dict)
    media: dict[str, Footage] = dataclasses.field(default_factory=dict)
    balance: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    """split -> class -> samples; classes of several heads as `verb:take`; for regression the one class is `all`"""
    lengths: dict[str, Histogram] = dataclasses.field(default_factory=dict)
    """tokens of a modality, or seconds of a media column -> how many clips"""
    problems: list[Problem] = dataclasses.field(default_factory=list)
    """errors first, then warnings, then notes; within these by kind"""
    groups: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """split -> its groups; empty without any"""
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    """column of the manifest -> what it is taken for"""
    stems: dict[str, Proposal] = dataclasses.field(default_factory=dict)
    """modality -> what it should pass before it is embedded; those that need nothing are absent"""

    measures: tuple[str, str] = ("tokens", "features")
    """what the sizes of `modalities` are; of pictures, pixels and channels"""

    @property
    def counts(self) -> dict[str, int]:
        """error, warning, note -> how many."""
        found = Counter(problem.severity for problem in self.problems)
        return {severity: found[severity] for severity in ("error", "warning", "note")}

    def __repr__(self) -> str:
        lines = [
            f"{self.manifest}: {counted(self.rows, 'sample')}; "
            f"{', '.join(counted(n, name) for name, n in self.counts.items())}"
        ]
        for problems in self.by_kind().values():
            lines += [f"{problem.severity}: {problem.message}" for problem in problems[:FIRST]]
            lines += [f"... and {len(problems) - FIRST} more"] * (len(problems) > FIRST)
        return "\n".join(shown(line, REASON) for line in lines)

    def by_kind(self) -> dict[str, list[Problem]]:
        """Rule -> its problems."""
        kinds: dict[str, list[Problem]] = {}
        for problem in self.problems:
            kinds.setdefault(problem.kind, []).append(problem)
        return kinds

    def to_json(self) -> dict[str, object]:
        """As plain dicts and lists; `fixes` has the nearest fix for every kind of problem found."""
        return {
            "manifest": self.manifest,
            "rows": self.rows,
            "columns": self.columns,
            "counts": self.counts,
            "modalities": {n: {**s._asdict(), "tokens": s.tokens._asdict()} for n, s in self.modalities.items()},
            "stems": {n: proposal._asdict() for n, proposal in self.stems.items()},
            "media": {n: {**s._asdict(), "seconds": s.seconds._asdict()} for n, s in self.media.items()},
            "balance": self.balance,
            "groups": self.groups,
            "lengths": {name: histogram._asdict() for name, histogram in self.lengths.items()},
            "problems": [{**problem._asdict(), "ids": list(problem.ids)} for problem in self.problems],
            "fixes": {kind: RULES[kind].fix for kind in self.by_kind()},
        }


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """By the order of the rules, which puts errors first; those of one rule as they were found."""
    place = {kind: i for i, kind in enumerate(RULES)}
    return sorted(problems, key=lambda problem: place[problem.kind])
