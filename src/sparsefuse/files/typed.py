"""Typed JSON: reads and writes frozen dataclasses; invalid input raises ValueError with a one-sentence reason."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from sparsefuse.errors import unknown
from sparsefuse.files.whole import write_text

T = TypeVar("T")
JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]

LARGEST = 2**53
"""of a whole number; beyond it a float is no longer exact"""
DEEPEST = 16
"""levels of nesting where a field takes any JSON"""


def read(kind: type[T], path: Path) -> T:
    """Reads the file as a `kind`. Raises ValueError saying what, where, got and expected if it holds anything else."""
    return from_json(kind, parse(path.read_bytes(), str(path)), str(path))


def parse(text: str | bytes, place: str) -> JSON:
    """The JSON in a text. Raises ValueError, naming the place, for any other."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON ({str(error)[:100]})") from error


def write(path: Path, record: object) -> None:
    """Writes the dataclass as indented JSON, atomically. Raises ValueError for NaN and infinity, as `read` does."""
    try:
        text = json.dumps(to_json(record), indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path.name} is not written: a number in it would be NaN or infinite ({error})") from error
    write_text(path, text + "\n")


def to_json(record: object) -> dict[str, JSON]:
    """A dataclass as JSON: names as its fields', without a trailing `_` (`from_`). A field that is None, and is so by
    default, is left out."""
    values = {field: getattr(record, field.name) for field in fields(cast(Any, record))}
    return {f.name.rstrip("_"): plain(v) for f, v in values.items() if v is not None or f.default is not None}


def from_json(kind: type[T], value: object, place: str) -> T:
    """The inverse of `to_json`; `place` begins the message of the ValueError for invalid input."""
    return cast(T, _typed(kind, value, place, ""))


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses and mappings as objects, tuples and arrays as lists, paths as texts."""
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value


def _typed(kind: Any, value: Any, place: str, path: str) -> Any:
    """The value as a `kind`; `path` is its path in the file."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record(cast(type, kind), value, place, path)
    if origin is Literal:
        if value not in inner:
            raise ValueError(f"{_at(place, path)}: {unknown(path.rpartition('.')[2], str(value)[:60], inner)}")
        return value
    if origin in (Union, UnionType):
        if value is None and type(None) in inner:
            return None
        kinds = [one for one in inner if one is not type(None)]
        kind = next((one for one in kinds if (get_origin(one) is dict) == isinstance(value, dict)), kinds[0])
        return _typed(kind, value, place, path)
    if origin in (dict, Mapping):
        return {k: _typed(inner[1], v, place, _below(path, k)) for k, v in _of(dict, value, place, path).items()}
    if origin in (list, Sequence, tuple):
        items = _of(list, value, place, path)
        if origin is tuple and inner[-1] is not Ellipsis and len(items) != len(inner):
            raise ValueError(f"{_at(place, path)} has {len(items)} values; expected {len(inner)}")
        kinds = inner if origin is tuple and inner[-1] is not Ellipsis else [inner[0]] * len(items)
        typed = (_typed(*pair, place, _below(path, i)) for i, pair in enumerate(zip(kinds, items, strict=True)))
        return tuple(typed) if origin is tuple else list(typed)
    if kind in (Any, object):
        return _any(value, place, path, 0)
    return _number(_of(kind, value, place, path), place, path)


def _record(kind: type, value: Any, place: str, path: str) -> Any:
    expected = _fields(kind)
    entries = _of(dict, value, place, path)
    for name in entries:
        if name not in expected:
            raise ValueError(f"{_at(place, path)}: {unknown('field', name[:60], expected)}")
    for name, (_, _, needed) in expected.items():
        if needed and name not in entries:
            raise ValueError(f"{_at(place, _below(path, name))} is missing; fields: {', '.join(expected)}")
    values = {expected[n][0]: _typed(expected[n][1], v, place, _below(path, n)) for n, v in entries.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{_at(place, path)}: {error}") from error


@cache
def _fields(kind: type) -> dict[str, tuple[str, Any, bool]]:
    """Name in JSON -> name of the field, its type, and whether it is required."""
    hints = get_type_hints(kind)
    return {
        f.name.rstrip("_"): (f.name, hints[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    }


_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a whole number"}
_NAMES |= {float: "a number", type(None): "null"}


def _of(kind: type, value: Any, place: str, path: str) -> Any:
    """The value, if it is of this plain type; a whole number is a float too."""
    right = isinstance(value, (int, float) if kind is float else kind)
    if not right or (isinstance(value, bool) and kind is not bool):
        got = str(value) if isinstance(value, bool | int | float) else _NAMES.get(type(value), type(value).__name__)
        raise ValueError(f"{_at(place, path)} {'is' if path else 'holds'} {got[:60]}; expected {_NAMES[kind]}")
    return value


def _number(value: Any, place: str, path: str) -> Any:
    """The value, unless it is a number that is not finite or too large."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{_at(place, path)} is {value:g}; expected a finite number")
    if isinstance(value, int) and abs(value) > LARGEST:
        raise ValueError(f"{_at(place, path)} is {str(value)[:30]}...; expected {LARGEST:,} at most")
    return value


def _any(value: Any, place: str, path: str, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"{_at(place, path[:60])} is nested more than {DEEPEST} levels")
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            _any(inner, place, _below(path, key), depth + 1)
    return _number(value, place, path)


def _at(place: str, path: str) -> str:
    return f"{place}: {path}" if path else place


def _below(path: str, name: object) -> str:
    return f"{path}.{str(name)[:60]}" if path else str(name)[:60]
