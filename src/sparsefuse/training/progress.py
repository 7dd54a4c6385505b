"""Progress of a training run: a bar with time left and the last scores on a terminal, a few lines elsewhere."""

import logging
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sparsefuse.runs.records import Epoch
from sparsefuse.screen import progress_console

log = logging.getLogger(__name__)

LINES = 10
"""of a run, where there is no bar"""


class EpochProgress:
    """Shows epochs and their scores; use it as a context. `shown` False keeps it silent."""

    def __init__(self, epochs: int, *, shown: bool):
        self.shown, self.every, self.epochs = shown, max(1, epochs // LINES), epochs
        console = progress_console()
        self.live = shown and not console.quiet and (sys.stderr.isatty() or console.is_jupyter)
        columns = (
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self.progress = Progress(*columns, console=console, disable=not self.live)
        self.task = self.progress.add_task("", total=epochs)

    def __enter__(self) -> "EpochProgress":
        if self.live:  # elsewhere even a disabled bar prints an empty line
            self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.progress.stop()

    def step(self, epoch: int, batch: int, batches: int) -> None:
        """After each batch."""
        self.progress.update(self.task, completed=epoch + batch / batches)

    def epoch(self, line: Epoch) -> None:
        """After each epoch, with its line of metrics.jsonl."""
        scores = {k.removeprefix("valid_"): v for k, v in line.scores.items() if k.startswith("valid_")}
        text = f"train loss {line.train_loss:.3f}"
        text += "".join(f"  valid {name} {value:.3f}" for name, value in list(scores.items())[:2])
        self.progress.update(self.task, completed=line.epoch, description=text)
        if self.live or not self.shown or (line.epoch % self.every and line.epoch not in (1, self.epochs)):
            return
        if log.isEnabledFor(logging.INFO):
            log.info("epoch %d of %d: %s", line.epoch, self.epochs, text)
        else:  # nobody has set logging up: a script, or a notebook without widgets
            print(f"epoch {line.epoch} of {self.epochs}: {text}", file=sys.stderr)
