"""Reads the numeric arrays of MATLAB 5 to 7.2 files.

Without scipy: there a file whose tail is zeros, as after a broken download, causes a segmentation fault.
Format: MathWorks, MAT-File Format, chapter 1.
"""

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from sparsefuse.files.declared import beyond, check_array, check_bytes

_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_NUMERIC = range(6, 16)
"""Array classes double to uint64; below are cells, structs, objects, text and sparse arrays."""
_COMPLEX = 0x800
_NONE = (0, memoryview(b""))


def read_mat(path: Path) -> dict[str, np.ndarray]:
    """All real numeric arrays of the file. Raises ValueError or zlib.error when it is not a whole MATLAB 5 file."""
    content = memoryview(path.read_bytes())
    if content[:10] == b"MATLAB 7.3":
        raise ValueError("MATLAB 7.3 files are HDF5; save it in MATLAB with `save(..., '-v7')`")
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[126:128]))
    if order is None:
        raise ValueError("no MATLAB 5 header")
    arrays: dict[str, np.ndarray] = {}
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
        arrays.update(_array(body, order, len(content)))
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
