"""Reads the points of a PLY file, as scanners and apps write them: the element `vertex`, in text or in binary."""

from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from sparsefuse.files.skipped import Unusable
from sparsefuse.shown import shown

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "float64": "f8",
}  # fmt: skip
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_LINES, _LETTERS = 256, 4096
"""most of a header, and of one of its lines"""


class _Header(NamedTuple):
    """What a file declares of its points."""

    format: str
    points: int
    fields: np.dtype


def read_ply(path: Path, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Places (N, 3) and, where they are known, colours (N, 3). `name` begins the message of errors. Raises Unusable."""
    with path.open("rb") as file:
        header = _header(file, name)
        held = path.stat().st_size - file.tell()
        if header.format == "ascii":
            points = _text(file, header, name)
        else:
            if header.points * header.fields.itemsize > held:
                raise Unusable(f"{name}: declares {header.points:,} points but holds fewer; was it cut short?")
            points = np.fromfile(file, header.fields, header.points)
    return _columns(points, ("x", "y", "z"), name), _colors(points, name)


def _header(file: BinaryIO, name: str) -> _Header:
    if file.readline(_LETTERS).strip() != b"ply":
        raise Unusable(f"{name}: is not a PLY file: its first line is not `ply`")
    format, elements = "", list[tuple[str, int, list[tuple[str, str]]]]()
    for _ in range(_LINES):
        words = file.readline(_LETTERS).decode("ascii", "replace").split()
        if words == ["end_header"]:
            break
        if words[:1] == ["format"] and len(words) > 1:
            format = words[1]
        elif words[:1] == ["element"] and len(words) == 3 and words[2].isdecimal():
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"] and elements:
            elements[-1][2].append((words[-1], words[1] if len(words) == 3 else "list"))
    else:
        raise Unusable(f"{name}: has no end_header in its first {_LINES} lines")
    if format not in _ORDERS:
        raise Unusable(f"{name}: has format {shown(format) or 'none'}, expected {', '.join(_ORDERS)}")
    if not elements or elements[0][0] != "vertex":
        first = shown(elements[0][0]) if elements else "none"
        raise Unusable(f"{name}: its first element is {first}, expected vertex, the points")
    _, count, properties = elements[0]
    names = [field for field, _ in properties]
    if any(kind not in _TYPES for _, kind in properties) or len(set(names)) < len(names) or not names:
        found = ", ".join(f"{kind} {field}" for field, kind in properties)
        raise Unusable(f"{name}: its points have properties {shown(found) or 'none'}, expected each once, a number")
    return _Header(format, count, np.dtype([(field, _ORDERS[format] + _TYPES[kind]) for field, kind in properties]))


def _text(file: BinaryIO, header: _Header, name: str) -> np.ndarray:
    rows = []
    for _ in range(header.points):
        line = file.readline(_LETTERS)
        if not line:
            raise Unusable(f"{name}: declares {header.points:,} points but holds {len(rows):,}; was it cut short?")
        rows.append(line)
    try:
        return np.array([tuple(map(float, row.split())) for row in rows], header.fields)
    except (ValueError, TypeError, OverflowError) as error:
        raise Unusable(
            f"{name}: has points without the {len(header.fields.names or ())} numbers that its header declares"
        ) from error


def _columns(points: np.ndarray, names: tuple[str, ...], name: str) -> np.ndarray:
    if missing := [part for part in names if part not in (points.dtype.names or ())]:
        raise Unusable(
            f"{name}: its points have no {missing[0]}; they have {shown(', '.join(points.dtype.names or ()))}"
        )
    return np.stack([points[part] for part in names], 1)


def _colors(points: np.ndarray, name: str) -> np.ndarray | None:
    known = points.dtype.names or ()
    return _columns(points, ("red", "green", "blue"), name) if "red" in known else None
