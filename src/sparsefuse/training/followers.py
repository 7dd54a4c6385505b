"""What follows a run epoch by epoch, besides its metrics.jsonl: TensorBoard, and a function of the user's."""

from collections.abc import Callable
from pathlib import Path

from sparsefuse.extras import need
from sparsefuse.runs.records import Epoch

OnEpoch = Callable[[Epoch, Path], object]
"""called with the record of an epoch, and the run folder"""
FOLDER = "tensorboard"


def need_tensorboard() -> None:
    """Raises ImportError without the extra `tensorboard`."""
    need("tensorboard", "tensorboard", "train.log=tensorboard")


class Followers:
    """Those of the run in a folder, of which `done` epochs are done."""

    def __init__(self, run: Path, done: int, *, log: str, on_epoch: OnEpoch | None):
        self.run, self.on_epoch, self.board = run, on_epoch, None
        if log == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            # What a killed run wrote of later epochs is not shown.
            self.board = SummaryWriter(str(run / FOLDER), purge_step=done + 1)

    def epoch(self, line: Epoch) -> None:
        """After each epoch, when its checkpoint is written. Raises RuntimeError if `on_epoch` raises anything."""
        if self.board:
            for name, value in {"lr": line.lr, "train_loss": line.train_loss, **line.scores}.items():
                self.board.add_scalar(name, value, line.epoch)
            self.board.flush()
        if self.on_epoch:
            try:
                self.on_epoch(line, self.run)
            except Exception as error:
                saved = f"{self.run} is saved up to epoch {line.epoch} and can be resumed"
                raise RuntimeError(f"on_epoch raised {type(error).__name__}: {error}; {saved}") from error
