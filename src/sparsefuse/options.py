"""Options of a `build`: its signature and the values that were given in, an error for one of the wrong kind out."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from sparsefuse.errors import unknown
from sparsefuse.shown import shown

_LONGEST = 60


def check_kinds(build: Callable[..., Any], options: Mapping[str, Any], of: str) -> None:
    """Raises ValueError, naming it, for the first option that is not as `build` annotates it; numbers must not be below
    0. `of` is whose options they are."""
    parameters = inspect.signature(build).parameters
    for name, value in options.items():
        if name in parameters and parameters[name].annotation is not inspect.Parameter.empty:
            check_kind(parameters[name].annotation, value, name, of)


def check_kind(kind: Any, value: Any, place: str, of: str = "") -> None:
    """Raises ValueError, such as "keep.rgb of sft is 'x'; expected a whole number, 0 or more"."""
    if get_origin(kind) is Literal and isinstance(value, str) and value not in get_args(kind):
        raise ValueError(unknown(place, value, get_args(kind)))
    if (found := _wrong(kind, value, place)) is not None:
        place, value, expected = found
        whose = f" of {of}" if of else ""
        raise ValueError(f"{shown(place)}{whose} is {shown(repr(value), _LONGEST)}; expected {expected}")


def _wrong(kind: Any, value: Any, place: str) -> tuple[str, Any, str] | None:
    """Place, value, and what was expected there, of the first value of the wrong kind."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _of_none(inner, value, place)
    if _is_mapping(kind):
        if not isinstance(value, Mapping):
            return place, value, expected(kind)
        for key, below in value.items():
            if found := _wrong(inner[1] if inner else Any, below, f"{place}.{key}"):
                return found
        return None
    if _is_list(kind):
        return _of_list(kind, value, place)
    return None if _is_one(kind, value) else (place, value, expected(kind))


def _of_none(kinds: Sequence[Any], value: Any, place: str) -> tuple[str, Any, str] | None:
    """What is wrong with a value that may be of several kinds; inside a mapping or list, with what is in it."""
    found = [_wrong(kind, value, place) for kind in kinds]
    if None in found:
        return None
    inside = [wrong for wrong in found if wrong and wrong[0] != place]
    return inside[0] if inside else (place, value, _either(kinds))


def _of_list(kind: Any, value: Any, place: str) -> tuple[str, Any, str] | None:
    inner = get_args(kind) or (Any, ...)
    fixed = get_origin(kind) is tuple and inner[-1] is not Ellipsis
    if not isinstance(value, list | tuple) or (fixed and len(value) != len(inner)):
        return place, value, expected(kind)
    for i, below in enumerate(value):
        if found := _wrong(inner[i] if fixed else inner[0], below, f"{place}[{i}]"):
            return found
    return None


def _is_one(kind: Any, value: Any) -> bool:
    """Whether the value is of a kind that has no others inside."""
    if get_origin(kind) is Literal:  # one of several kinds, where another text is for `build` to name the nearest
        return isinstance(value, str) or value in get_args(kind)
    if kind in (int, float):
        number: Any = value
        right = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return right and 0 <= number < math.inf
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (list, tuple, Sequence)


def _either(kinds: Sequence[Any]) -> str:
    kinds = [kind for kind in kinds if not (isinstance(kind, type) and issubclass(kind, tuple))]  # no file has such
    names = list(dict.fromkeys(filter(None, map(expected, kinds))))
    return (", or " if any("," in name for name in names) else " or ").join(names)


_NAMES = {int: "a whole number, 0 or more", float: "a number, 0 or more", bool: "true or false", str: "a text"}


def expected(kind: Any) -> str:
    """What a message says of a kind; empty of None."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return _either(inner)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if _is_mapping(kind):
        below = "a mapping" if _is_mapping(inner[1]) else expected(inner[1])
        return f"a mapping by name{f', each {below}' if below else ''}"
    if _is_list(kind):
        of = [one for one in inner if one is not Ellipsis]
        count = f"{len(of)} values" if get_origin(kind) is tuple and inner[-1] is not Ellipsis else "a list"
        return f"{count}, each {expected(of[0])}" if of and expected(of[0]) else count
    return _NAMES.get(kind, "" if kind is NoneType else getattr(kind, "__name__", ""))
