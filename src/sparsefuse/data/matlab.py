"""Reads the numeric arrays of MATLAB files: 5 to 7.2 here, 7.3 as the HDF5 that they are.

Without scipy: there a file whose tail is zeros, as after a broken download, causes a segmentation fault.
Format: MathWorks, MAT-File Format, chapter 1.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from sparsefuse.data.hdf5 import open_hdf5, read_dataset
from sparsefuse.files.declared import beyond, check_array, check_bytes

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_NUMERIC = range(6, 16)
"""Array classes double to uint64; below are cells, structs, objects, text and sparse arrays."""
_CLASSES = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
"""The same by name; not char, logical, cell, struct."""
_COMPLEX = 0x800
_CELL, _STRUCT, _CHAR = 1, 2, 4
_ENCODINGS = {4: "utf-16", 16: "utf-8", 17: "utf-16"}
"""of texts; others are Latin-1"""
_ENDS = {"<": "-le", ">": "-be"}
_DEEPEST = 20
"""levels of cells and structs"""
_NONE = (0, memoryview(b""))


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """All real numeric arrays of the file. Raises ValueError, zlib.error or OSError when it is no whole MATLAB file."""
    with path.open("rb") as file:
        if file.read(10) == b"MATLAB 7.3":
            return _read_hdf5(path)
    arrays: dict[str, np.ndarray] = {}
    for body, order, held in _variables(path):
        arrays.update(_array(body, order, held))
    return arrays


def read_texts(path: Path) -> dict[str, list[str]]:
    """Variable -> all texts in it, those in its cells and structs too, in the order of the file; of MATLAB 5 to 7.2.

    Raises ValueError, zlib.error or OSError when it is no whole MATLAB file.
    """
    texts: dict[str, list[str]] = {}
    for body, order, _ in _variables(path):
        name = next(itertools.islice(_elements(body, 0, order), 2, None), _NONE)[1]
        texts[bytes(name).decode("latin-1")] = list(_texts(body, order, 0))
    return texts


def _variables(path: Path) -> Iterator[tuple[memoryview, str, int]]:
    """Every variable of a MATLAB 5 file, unpacked; with the order of its bytes, and how many the file has."""
    content = memoryview(path.read_bytes())
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise ValueError("no MATLAB 5 header")
    unpacked = 0
    for kind, body in _elements(content, 128, order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            whole = unpacker.decompress(body, len(content) + beyond() - unpacked + 1)
            unpacked += len(whole)
            check_bytes(unpacked, len(content))
            if not unpacker.eof:
                raise ValueError("a compressed array is cut off")
            kind, body = next(_elements(memoryview(whole), 0, order), _NONE)
        if kind != _MATRIX:
            raise ValueError(f"element of type {kind} where an array is expected")
        yield body, order, len(content)


def _texts(body: memoryview, order: str, depth: int) -> Iterator[str]:
    parts = _elements(body, 0, order)
    flags = next(parts, _NONE)[1]
    if len(flags) != 8 or depth > _DEEPEST:
        return
    kind = int(np.frombuffer(flags, order + "u4")[0]) & 0xFF
    inner = list(itertools.islice(parts, 2, None))  # without sizes and name
    if kind == _CHAR and inner:
        written, values = inner[0]
        yield bytes(values).decode(_ENCODINGS.get(written, "latin-1") + _ENDS[order] * (written in (4, 17)), "replace")
    elif kind in (_CELL, _STRUCT):
        for written, values in inner:
            if written == _MATRIX:
                yield from _texts(values, order, depth + 1)


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Data sets of classes double to uint64. There an array stands column by column: its axes are reversed."""
    import h5py

    arrays: dict[str, np.ndarray] = {}
    with open_hdf5(path) as file:
        for name, item in file.items():
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiu" or "MATLAB_empty" in item.attrs:
                continue  # cells, structs, complex numbers, empty arrays
            if bytes(item.attrs.get("MATLAB_class", b"")).decode("ascii", "replace") in _CLASSES:
                arrays[name] = read_dataset(item).T
                check_bytes(sum(array.nbytes for array in arrays.values()), path.stat().st_size)
    return arrays


def _elements(content: memoryview, at: int, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, bytes) one after the other; each begins at a multiple of 8, except after a compressed one."""
    while at < len(content):
        if at + 8 > len(content):
            raise ValueError(f"cut off at byte {at}")
        kind, size = struct.unpack_from(order + "II", content, at)
        start = at + 8
        if kind >> 16:  # the small format: size and type share a word, the bytes take the place of the size
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(content):
            raise ValueError(f"the element at byte {at} declares {size} bytes, {len(content) - start} are left")
        yield kind, content[start : start + size]
        at = start + size
        if kind != _COMPRESSED:
            at += -at % 8


def _array(body: memoryview, order: str, held: int) -> dict[str, np.ndarray]:
    """{name: values}; empty for arrays that are not real numbers."""
    parts = _elements(body, 0, order)
    (flags_kind, flags), (dims_kind, dims), (_, name) = (next(parts, _NONE) for _ in range(3))
    if flags_kind != _UINT32 or dims_kind != _INT32 or len(flags) != 8:
        raise ValueError("an array without flags and sizes")
    flag = int(np.frombuffer(flags, order + "u4")[0])
    if flag & 0xFF not in _NUMERIC or flag & _COMPLEX:
        return {}
    shape = np.frombuffer(dims, order + "i4").tolist()
    kind, values = next(parts, _NONE)
    if kind not in _TYPES:
        raise ValueError(f"array values of unknown type {kind}")
    flat = np.frombuffer(values, order + _TYPES[kind])
    if min(shape, default=-1) < 0 or prod(shape) != flat.size:
        raise ValueError(f"array of shape {shape} with {flat.size} values")
    check_array(shape, flat.itemsize, held)
    return {bytes(name).decode("latin-1"): flat.reshape(shape, order="F")}
