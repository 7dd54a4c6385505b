"""The folder of files that were uploaded on the page, kept for a limited time and number."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sparsefuse.serve.refusal import Refusal

SECONDS = 570.0
"""How long a file is kept, because the page plays it from here; with the time between sweeps, below ten minutes."""
FILES = 500
EVERY = 20.0


class _File(NamedTuple):
    written: float
    size: int
    path: Path


class Uploads:
    """`most` bytes and `FILES` files are kept, the newest; `places` uploads may be in progress at a time."""

    def __init__(self, folder: Path, *, most: int, places: int) -> None:
        self.folder = folder
        self._most, self._places, self._under_way = most, places, 0
        folder.mkdir(parents=True, exist_ok=True)

    def holds(self, path: str) -> bool:
        """Whether the resolved path is in the folder, and is not a link itself."""
        file = Path(path)
        return file.is_absolute() and not file.is_symlink() and file.resolve().is_relative_to(self.folder.resolve())

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Admits one upload. Raises Refusal when too many are in progress."""
        if self._under_way >= self._places:
            raise Refusal(503, "too many uploads are in progress; retry in a second", retry_after=1)
        self.sweep()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def sweep(self) -> None:
        """Deletes files that are too old, and the oldest ones above the limits."""
        files = sorted(self._files(), reverse=True)
        kept, oldest = 0, time.time() - SECONDS
        for count, file in enumerate(files):
            kept += file.size
            if file.written < oldest or kept > self._most or count >= FILES:
                file.path.unlink(missing_ok=True)
                with suppress(OSError):  # it holds other files
                    file.path.parent.rmdir()

    async def keep_sweeping(self) -> None:
        """Sweeps every `EVERY` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            self.sweep()

    def _files(self) -> Iterator[_File]:
        for path in self.folder.glob("**/*"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.is_file():
                    yield _File(status.st_mtime, status.st_size, path)
