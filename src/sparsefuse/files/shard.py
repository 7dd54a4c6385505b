"""Writes safetensors files from arrays in memory or in other such files; finds where each array of a file is.

The safetensors library writes only from memory; here, arrays in files are copied by the kernel. A file's bytes depend
only on its arrays and their order.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

_TYPES = {"float32": "F32", "float16": "F16", "uint8": "U8"}
_BLOCK = 2**20


class Stored(NamedTuple):
    """The location of an array in a file."""

    path: Path
    begin: int
    dtype: str
    """float32, float16 or uint8"""
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the array."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def save(path: Path, arrays: Mapping[str, np.ndarray | Stored]) -> None:
    """Writes a file of these arrays, each under its key."""
    # The widest type first, so that all arrays are aligned.
    ordered = sorted(arrays.items(), key=lambda item: -np.dtype(item[1].dtype).itemsize)
    head: dict[str, object] = {}
    end = 0
    for key, array in ordered:
        begin, end = end, end + array.nbytes
        head[key] = {"dtype": _TYPES[str(array.dtype)], "shape": array.shape, "data_offsets": [begin, end]}
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            if isinstance(array, Stored):
                _copy(array, file)
            else:
                file.write(np.ascontiguousarray(array).data)


def places(path: Path) -> dict[str, Stored]:
    """The location of each array of a file, by its key."""
    types = {short: long for long, short in _TYPES.items()}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(length))
    return {
        key: Stored(path, 8 + length + entry["data_offsets"][0], types[entry["dtype"]], tuple(entry["shape"]))
        for key, entry in head.items()
    }


def _copy(stored: Stored, target: IO[bytes]) -> None:
    with stored.path.open("rb", buffering=0) as file:
        file.seek(stored.begin)
        left = stored.nbytes
        if hasattr(os, "copy_file_range"):  # Linux: the bytes do not pass through this process
            target.flush()
            while left:
                count = os.copy_file_range(file.fileno(), target.fileno(), left)
                assert count, f"{stored.path} ends {left} bytes early"
                left -= count
            target.seek(0, os.SEEK_END)
        block = memoryview(bytearray(_BLOCK if left else 0))
        while left:
            count = file.readinto(block[: min(left, _BLOCK)])
            assert count, f"{stored.path} ends {left} bytes early"
            target.write(block[:count])
            left -= count
