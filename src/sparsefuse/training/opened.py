"""The folder that a run is trained in: what was begun there is compared with what is to be done, and it is locked."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sparsefuse.config import Config
from sparsefuse.files.lock import in_use
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training import distributed, extend


class Opened(NamedTuple):
    """A folder for a run."""

    folder: RunFolder
    before: int
    """epochs that the run in it was planned for, if there are more now; else 0"""
    ended: bool
    """whether nothing is left to do"""


@contextlib.contextmanager
def opened(out: Path, config: Config, rank: distributed.Rank, *, resume: bool, tested: bool) -> Iterator[Opened]:
    """Within it no other process trains there. Raises FileExistsError if one does, or there is a run and `resume` is
    off; ValueError if that run was started with another configuration."""
    folder = RunFolder(out)
    before = extend.planned(folder, config) if resume else 0
    ended = (folder.tested if tested else folder.finished) and not before
    with in_use(out) if rank.first and not ended else contextlib.nullcontext():
        if rank.first and folder.started:
            if not resume:
                raise FileExistsError(f"{out} holds a run already; continue it with --resume, or give another folder")
            folder.check_same(extend.with_epochs(config, before) if before else config)
        distributed.wait(rank)  # the first process must not write before the others have looked
        yield Opened(folder, before, ended)
