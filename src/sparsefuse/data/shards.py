"""Packs the arrays of many clips into few large feature files, with references `file#key` into them."""

from pathlib import Path

import numpy as np

from sparsefuse.files.shard import save
from sparsefuse.files.whole import replacing

SIZE = 64 << 20
"""Bytes of a file; opening one costs time by the number of its arrays."""


class Shards:
    """The feature files of one modality: `features/<modality>-00000.safetensors` and so on, in `out`."""

    def __init__(self, out: Path, modality: str, *, size: int = SIZE) -> None:
        self.out, self.modality, self.size = out, modality, size
        self.files = 0
        self.waiting: dict[str, np.ndarray] = {}
        self.bytes = 0

    def add(self, key: str, values: np.ndarray) -> str:
        """Adds the (N, F) of clip `key`; returns its reference, relative to `out`. It is on disk after `close`."""
        if key in self.waiting or key == "__metadata__":
            raise ValueError(f"features of {self.modality}: {key!r} cannot name a clip's array a second time")
        self.waiting[key] = np.ascontiguousarray(values, dtype=np.float32)
        self.bytes += self.waiting[key].nbytes
        ref = f"{self._name()}#{key}"
        if self.bytes >= self.size:
            self._write()
        return ref

    def close(self) -> None:
        """Writes the last file, and removes files that an earlier, larger run left."""
        if self.waiting:
            self._write()
        while (self.out / self._name()).is_file():
            (self.out / self._name()).unlink()
            self.files += 1

    def _name(self) -> str:
        return f"features/{self.modality}-{self.files:05d}.safetensors"

    def _write(self) -> None:
        with replacing(self.out / self._name()) as path:
            save(path, self.waiting)
        self.waiting, self.bytes = {}, 0
        self.files += 1
