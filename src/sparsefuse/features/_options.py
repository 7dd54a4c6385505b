"""The text of an error about a wrong value of an extractor's option."""

import inspect
import json
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from sparsefuse.errors import unknown

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


def wrong_option(parameter: inspect.Parameter, value: Any) -> str:
    """What is wrong with the value, what is expected, and the nearest valid value."""
    if get_origin(parameter.annotation) is Literal:
        return unknown(f"value of {parameter.name}", str(value), get_args(parameter.annotation))
    text = f"{parameter.name} is {_written(value)}, expected {_words(parameter.annotation)}"
    return f"{text}; {_fix(parameter, value)}"


def _words(kind: Any) -> str:
    """A type in plain words."""
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return ", ".join(map(str, inner))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, inner))
    if get_origin(kind) is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)} ({', '.join(map(_words, inner))})"
    if get_origin(kind) in (list, tuple):
        return f"a list ({_words(inner[0])} each)"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _fix(parameter: inspect.Parameter, value: Any) -> str:
    for kind in (parameter.annotation, *get_args(parameter.annotation)):
        inner = get_args(kind)
        if get_origin(kind) is tuple and isinstance(value, int | float) and len(set(inner)) == 1:
            return f"write {_written([value] * len(inner))}"
    return "leave it out" if parameter.default is parameter.empty else f"the default is {_written(parameter.default)}"


def _written(value: Any) -> str:
    """The value as it is written in YAML."""
    return json.dumps(value, default=str, ensure_ascii=False)
