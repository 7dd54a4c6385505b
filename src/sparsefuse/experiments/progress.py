"""Progress of a grid of runs: epochs done of all epochs, from the runs' metrics.jsonl."""

import time
from collections.abc import Mapping
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sparsefuse.runs.folder import RunFolder
from sparsefuse.screen import progress_console


class GridProgress:
    """A progress bar; `epochs`: how many each run folder will have."""

    def __init__(self, epochs: Mapping[Path, int], *, what: str = "runs"):
        self.epochs, self.what = epochs, what
        self.note = ""
        """further text on the line"""
        self.ended: set[Path] = set()
        """runs that count as complete though they have no result.json"""
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
        self.progress = Progress(*columns, TimeRemainingColumn(), console=progress_console())
        self.task = self.progress.add_task("", total=sum(epochs.values()))
        self.read_at = 0.0

    def __enter__(self) -> "GridProgress":
        self.progress.start()
        self.update()
        return self

    def __exit__(self, *_: object) -> None:
        self.read_at = 0.0
        self.update()
        self.progress.stop()

    def update(self) -> None:
        """Reads how far the runs are, at most once a second."""
        if time.monotonic() - self.read_at < 1:
            return
        self.read_at = time.monotonic()
        done = finished = 0
        for folder, epochs in self.epochs.items():
            run = RunFolder(folder)
            ended = folder in self.ended or run.finished
            finished += ended
            done += epochs if ended else run.num_epochs
        text = f"{finished} of {len(self.epochs)} {self.what}{self.note and ', '}{self.note}"
        self.progress.update(self.task, completed=done, description=text)
