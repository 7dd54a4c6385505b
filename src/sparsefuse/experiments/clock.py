"""The time that a search may take: its limit and what earlier calls used in; whether it is up out."""

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparsefuse.files.typed import read, write

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(text: str | float | None) -> float:
    """`90`, `90s`, `20m` and `1.5h` in seconds; nothing is no limit, infinity. Raises ValueError for anything else."""
    if text in ("", None):
        return math.inf
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([smh]?)", str(text).strip())
    if not match or not float(match[1]):
        raise ValueError(f"time limit {str(text)[:40]!r}: expected seconds, or a number and its unit: 90s, 20m, 1.5h")
    return float(match[1]) * UNITS[match[2]]


@dataclass(frozen=True)
class Used:
    """clock.json"""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError(f"seconds is {self.seconds}; expected 0 or more")


class Clock(NamedTuple):
    """A clock that is stopped while no process works at the search; it can be pickled, and is `train`'s `stop`."""

    file: Path
    limit: float
    """seconds"""
    start: float
    """when the search would have begun, had it not been interrupted; by the clock that all processes share"""

    @classmethod
    def begin(cls, file: Path, limit: str | float | None = None) -> "Clock":
        """Goes on where the `file` of an earlier call ends. Raises ValueError for a limit that is none."""
        used = read(Used, file).seconds if file.is_file() else 0.0
        return cls(file, seconds_of(limit), time.monotonic() - used)

    @property
    def used(self) -> float:
        """Seconds, those of earlier calls among them."""
        return time.monotonic() - self.start

    @property
    def up(self) -> bool:
        """Whether the limit is reached."""
        return self.used >= self.limit

    def note(self) -> None:
        """Keeps the time that is used by now: a kill loses what comes after it."""
        write(self.file, Used(round(self.used, 3)))

    def __call__(self, folder: Path) -> bool:
        """After an epoch of the run in `folder`: notes the time; whether it is up."""
        self.note()
        return self.up
