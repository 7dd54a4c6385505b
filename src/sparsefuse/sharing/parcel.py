"""The files of a run that are shared: their names, and how large each may be. No other file is sent or received."""

import stat
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.runs.fitted import FITTED
from sparsefuse.runs.folder import EPOCHS, NAMES, REPLAY, WEIGHTS
from sparsefuse.runs.records import Calibration, Environment, ModelFacts, Result

CARD = "README.md"
MB = 2**20
LIMITS = {
    WEIGHTS: 8192 * MB,
    NAMES[ModelFacts]: 8 * MB,
    NAMES[Config]: MB,
    NAMES[Environment]: MB,
    NAMES[Result]: 16 * MB,
    NAMES[Calibration]: MB,
    FITTED: 8 * MB,
    EPOCHS: 32 * MB,
    REPLAY: 64 * MB,
    CARD: MB,
}
"""file -> bytes at most"""
NEEDED = (WEIGHTS, NAMES[ModelFacts], NAMES[Config])
"""files that every run must have"""


def check_size(name: str, size: int | None) -> None:
    """Raises ValueError for a file that is larger than it may be, or of unknown size."""
    if size is None or size > LIMITS[name]:
        shown = "of unknown size" if size is None else f"{size:,} bytes"
        raise ValueError(f"{name} is {shown}; expected {LIMITS[name]:,} at most; nothing was copied")


def check_needed(names: list[str], where: str) -> None:
    """Raises FileNotFoundError, naming the first, if a file that every run has is missing."""
    for name in NEEDED:
        if name not in names:
            raise FileNotFoundError(f"{where} has no {name}; expected a run folder that `train` wrote or `push` shared")


def plain_files(folder: Path) -> tuple[list[str], list[str]]:
    """Names in a folder that are shared, and those that are not; sizes are checked.

    Raises ValueError for a shared name that is a link, a folder or a device, which could refer to other files.
    """
    shared, others = [], []
    for path in sorted(folder.iterdir()):
        if path.name not in LIMITS:
            others.append(path.name)
            continue
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} in {folder} is not a plain file; a shared run has plain files only")
        check_size(path.name, status.st_size)
        shared.append(path.name)
    return shared, others
