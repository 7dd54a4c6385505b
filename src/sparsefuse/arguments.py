"""The arguments of `Classifier`: their names, the sections of a configuration they stand in, and errors about them."""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsefuse.config import Data, Train
from sparsefuse.files.rows import SUFFIXES
from sparsefuse.methods import BASELINE, methods
from sparsefuse.shown import shown

AUTO = "auto"
"""the method that chooses among methods"""
OWN = ("method", "gmacs", "time_limit", "verbose")
"""those that are no part of a configuration"""
SETTINGS = {"seed": "", "features": "", "recipe": ""}
SETTINGS |= {
    field.name: "data" for field in dataclasses.fields(Data) if field.name not in ("manifest", "label", "group")
}
SETTINGS |= {field.name: "train" for field in dataclasses.fields(Train)}
"""argument -> the section of the configuration that has it"""


def check_is_no_data(method: object) -> None:
    """Raises TypeError or ValueError, saying where they go, for data in the place of the method's name."""
    if not isinstance(method, str | Path):
        raise TypeError(
            f"method is {type(method).__name__}; expected the name of a method, such as 'sft' or 'auto'; data go to "
            "fit: Classifier().fit(X, y)"
        )
    name = str(method)
    if name in (AUTO, BASELINE, *methods()) or name.endswith(".py"):
        return
    if (there := Path(name).exists()) or Path(name).suffix.lower() in SUFFIXES:
        what = "a folder" if Path(name).is_dir() else "a file" if there else "the name of a table"
        raise ValueError(
            f"method is {shown(name)!r}, {what}; expected the name of a method, such as 'sft' or 'auto'; data go to "
            f"fit: Classifier().fit({shown(name)!r})"
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
