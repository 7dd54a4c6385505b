"""The folder of files that were dropped on the page: kept while somebody may look at them, and never many."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sparsefuse.serve.refusal import Refusal

SECONDS = 570.0
"""How long a file is kept, for the page plays it from here; with the time between sweeps, below ten minutes."""
FILES = 500
EVERY = 20.0


class _File(NamedTuple):
    written: float
    size: int
    path: Path


class Uploads:
    """`most` bytes and `FILES` files are kept, the newest; `places` uploads may be under way at a time."""

    def __init__(self, folder: Path, *, most: int, places: int) -> None:
        self.folder = folder
        self._most, self._places, self._under_way = most, places, 0
        folder.mkdir(parents=True, exist_ok=True)

    def holds(self, path: str) -> bool:
        """Whether the path names something in the folder, after all links and dots, and is no link itself."""
        file = Path(path)
        return file.is_absolute() and not file.is_symlink() and file.resolve().is_relative_to(self.folder.resolve())

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Around one upload. Raises Refusal when too many are under way."""
        if self._under_way >= self._places:
            raise Refusal(503, "too many uploads are under way; come back in a second", retry_after=1)
        self.sweep()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def sweep(self) -> None:
        """Deletes what is too old, and the oldest of what is too much."""
        files = sorted(self._files(), reverse=True)
        kept, oldest = 0, time.time() - SECONDS
        for count, file in enumerate(files):
            kept += file.size
            if file.written < oldest or kept > self._most or count >= FILES:
                file.path.unlink(missing_ok=True)
                with suppress(OSError):  # others are in there still
                    file.path.parent.rmdir()

    async def keep_sweeping(self) -> None:
        """Sweeps now and then, until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.sweep()

    def _files(self) -> Iterator[_File]:
        for path in self.folder.glob("**/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.is_file():
                    yield _File(status.st_mtime, status.st_size, path)
