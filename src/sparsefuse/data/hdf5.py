"""Reads arrays of HDF5 files: none that takes far more memory than its file holds."""

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsefuse.files.declared import beyond, check_array
from sparsefuse.files.skipped import Unusable

if TYPE_CHECKING:
    from h5py import File

_DEFLATE = 1032
"""bytes that one byte of gzip can become"""


def open_hdf5(path: Path) -> "File":
    """The open file. Raises OSError for a file that is not HDF5."""
    import h5py

    return h5py.File(path, "r")


def read_dataset(dataset: Any, row: int | None = None) -> np.ndarray:
    """All of a data set, or one row. Raises Unusable, and OSError or RuntimeError if it is broken."""
    if dataset.dtype.hasobject:
        raise Unusable("holds text or lists, expected numbers")
    held, item = dataset.file.id.get_filesize(), dataset.dtype.itemsize
    check_array(dataset.shape if row is None else dataset.shape[1:], item, held)
    if dataset.chunks:
        check_array(dataset.chunks, item, held)
        if dataset.compression == "gzip":
            _check_chunks(dataset, row, item * int(np.prod(dataset.chunks)))
    return np.asarray(dataset[() if row is None else row])


def _check_chunks(dataset: Any, row: int | None, size: int) -> None:
    """HDF5 unpacks a chunk to its end, however long: unpacks those here that can be far longer than `size`."""
    for chunk in _chunks(dataset, row):
        if _DEFLATE * chunk.size > size + beyond():
            _, packed = dataset.id.read_direct_chunk(chunk.chunk_offset)
            if len(zlib.decompressobj().decompress(packed, size + 1)) > size:
                raise Unusable(f"a chunk holds more than the {size:,} bytes that it should")


def _chunks(dataset: Any, row: int | None) -> Iterator[Any]:
    if row is None:
        found: list[Any] = []
        dataset.id.chunk_iter(found.append)
        yield from found
        return
    first = row - row % dataset.chunks[0]
    ranges = (range(0, end, step) for end, step in zip(dataset.shape[1:], dataset.chunks[1:], strict=True))
    for place in itertools.product((first,), *ranges):
        chunk = dataset.id.get_chunk_info_by_coord(place)
        if chunk.byte_offset is not None:
            yield chunk
