"""The arguments of `Classifier` in; a configuration with them, and errors in their words, out."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparsefuse.config import Config, Split
from sparsefuse.runs.arguments import SETTINGS

AUTO = "auto"
"""the method that chooses among methods"""


def config_of(
    method: str, given: Mapping[str, Any], manifest: Path, columns: Mapping[str, str], split: Split
) -> Config:
    """The configuration of a run on a manifest with these columns, for these options."""
    sections: dict[str, dict[str, Any]] = {"train": {}, "data": {}, "": {}, "options": {}}
    for name, value in given.items():
        sections[SETTINGS.get(name, "options")][name] = value
    data = {"split": split, **sections["data"], "manifest": manifest, **columns}
    options = {"all" if method == AUTO else method: sections["options"]}
    return Config.load(
        method="sft" if method == AUTO else method, options=options, data=data, train=sections["train"], **sections[""]
    )


@contextmanager
def words_of_python() -> Iterator[None]:
    """Errors from within name arguments as Python does (see `in_python`)."""
    try:
        yield
    except (ValueError, OSError) as error:
        if error.args and isinstance(error.args[0], str):
            error.args = (in_python(error.args[0]), *error.args[1:])
        raise


def in_python(text: str) -> str:
    """`set data.leaks=warn` of a configuration -> `use Classifier(leaks="warn")`, `train.lr` -> `lr`."""
    text = text.removeprefix("configuration: ").replace(" (sparsefuse check lists all)", "")
    text = re.sub(r"(?<![\w/.-])(?:data\.)?split\.fractions\b", "valid", text)  # of `fit`, which divides by it
    text = re.sub(rf"\bset {_FIELD}=(\w+)", lambda found: f"use Classifier({_given(*found.groups())})", text)
    text = re.sub(rf"{_FIELD}=([a-z]\w*)", lambda found: _given(*found.groups()), text)
    text = re.sub(r"(?<![\w/.-])options\.\w+\.(?=\w)", "", text)
    return re.sub(_FIELD, lambda found: found[1], text)


_FIELD = rf"(?<![\w/.-])(?:data|train)\.((?:{'|'.join([*SETTINGS, 'label', 'group'])})\b(?:\.\w+)*)"


def _given(name: str, value: str) -> str:
    """`split.by`, `group` -> `split={"by": "group"}`."""
    first, _, inner = name.partition(".")
    value = value if value.isdigit() else f'"{value}"'
    return f'{first}={{"{inner}": {value}}}' if inner else f"{first}={value}"
