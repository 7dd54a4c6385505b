"""What the parser complains of, in the words of whoever typed it: what is wrong, and what was expected."""

import re
from collections.abc import Collection
from dataclasses import fields

from sparsefuse.cli.verbs import POSITIONAL, VERBS
from sparsefuse.config import Axes, Picture, SpecAugment
from sparsefuse.errors import OTHER_NAMES, unknown
from sparsefuse.shown import shown

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "values separated by commas",
    "tuple": "values separated by commas",
    "dict": "name=value pairs separated by commas",
    "path": "a path",
}
NESTED = {"spec_augment": SpecAugment, "pictures": Picture, "axes": Axes}
"""fields of `data` that have a mapping of these"""


def complaint(message: str, options: Collection[str]) -> str:
    """The parser's message, rewritten; `options` are those that there are."""
    if 'expected "verb" to be one of' in message:
        return "no command given; try `sparsefuse demo`, or choose one of those that --help lists"
    if verb := re.search(r"invalid choice: '([^']*)' \(choose from '?demo", message):
        return unknown("command", verb[1], VERBS)
    if missing := re.search(r"arguments are required: (.+)", message):
        parts = (argument.split(".", 1) for argument in missing[1].split(", "))
        return f"missing: {', '.join(p[-1] if p[-1] in POSITIONAL.get(p[0], ()) else _flag(p[-1]) for p in parts)}"
    if value := re.search(r'key "([\w.]+)":\s+(.+?)(?:Got value|Given value): (.*)$', message, re.DOTALL):
        key, rule, got = value.groups()
        inside = [section for section, of in NESTED.items() if {*options} <= {field.name for field in fields(of)}]
        return _wrong_value(f"data.{inside[0]}.NAME.{key}" if inside and options else key, rule, got)
    if name := re.search(r"unrecognized arguments: (\S+)", message):
        return _unexpected(name[1], options)
    if name := re.search(r"does not accept option '([^']+)'|Key '([^']+)'", message):
        return _without_list(unknown("option", name[1] or name[2], options))
    return message.strip()


def _wrong_value(key: str, rule: str, value: str) -> str:
    if given := re.search(r"Given value: (.*)$", value):  # of a value that may be of several kinds, the last line
        value = given[1]
        if "dict[" in rule and value.startswith("{"):
            return f"{_flag(key)} needs options below each name; got {shown(value, 60)!r}"
    value = value.partition("\n")[0]
    if "valid subclass" in rule:
        return f"{_flag(key)} needs options below each name; got {shown(value, 60)!r}"
    if count := re.search(r"tuple with (\d+) elements", rule):
        return f"{_flag(key)} needs {count[1]} values separated by commas; got {shown(value, 60)!r}"
    if choices := re.search(r"typing\.Literal\[(.+?)\]", rule):
        return unknown(_flag(key), value, re.findall(r"'([^']+)'", choices[1]))
    kinds = [kind for kind in re.findall(r"<class '(?:\w+\.)*(\w+)'>", rule) if kind != "NoneType"]
    expected = next((EXPECTED[kind.lower()] for kind in kinds if kind.lower() in EXPECTED), "")
    return f"{_flag(key)} needs {expected or 'another value'}; got {shown(value, 60)!r}"


def _unexpected(argument: str, options: Collection[str]) -> str:
    if not argument.startswith("--"):
        return f"unexpected argument {shown(argument, 60)!r}"
    name = argument.removeprefix("--")
    known = OTHER_NAMES.get(name.rpartition(".")[2].replace("-", "_"), "")
    if known in options:
        return f"unknown option {shown(_flag(name), 60)!r}; did you mean {_flag(known)!r}?"
    if known.startswith("train."):
        return f"unknown option {shown(_flag(name), 60)!r}; `sparsefuse train` has {_flag(known)!r}"
    return _without_list(unknown("option", _flag(name), map(_flag, options)))


def _flag(option: str) -> str:
    """As it is typed: fields of the configuration as in a YAML, the others with dashes."""
    return f"--{option}" if "." in option else f"--{option.replace('_', '-')}"


def _without_list(text: str) -> str:
    return text.split(" available:")[0].rstrip(".")
