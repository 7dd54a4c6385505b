"""Reads a list of classes: a CSV with the columns id and key.

For data sets with a fixed list of classes, as EPIC-Kitchens: the model has all of them, in the order of the list,
even those without a training clip, and labels may be ids or keys.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sparsefuse.data.manifest import JOIN
from sparsefuse.errors import unknown
from sparsefuse.files.rows import check_ids, read_table


def read_class_lists(paths: Mapping[str, str], root: Path, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """Label column -> its list; `paths` are relative to `root`. Raises as `read_class_list`, ValueError for others."""
    for name in paths:
        if name not in columns:
            raise ValueError(f"data.classes: {unknown('label column', name, columns)}; data.label names them")
    return {name: read_class_list(root / path) for name, path in paths.items()}


def read_class_list(path: Path) -> dict[str, str]:
    """Key -> id, in the order of the list. Raises FileNotFoundError, or ValueError for a list that is ambiguous."""
    if not path.is_file():
        raise FileNotFoundError(f"the list of classes {path} not found; data.classes names it")
    table = read_table(path)
    check_ids(path, table)
    if "key" not in table.columns:
        raise ValueError(f"{path}: no 'key' column; {unknown('column', 'key', table.columns)}")
    if len(table.rows) < 2:
        raise ValueError(f"{path}: one class only; expected at least two")
    ids = {row["id"]: row["key"] for row in table.rows}
    classes: dict[str, str] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        key = row["key"]
        if not key or any(sign in key for sign in (JOIN, "|")):
            raise ValueError(f"{path}, line {line}: the key is {key!r}; expected a name without {JOIN} and |")
        if key in classes:
            raise ValueError(f"{path}, line {line}: the key {key!r} has the id {classes[key]} already; keys are unique")
        if key != row["id"] and key in ids:
            raise ValueError(f"{path}, line {line}: {key!r} is a key here and the id of {ids[key]!r}; rename one")
        classes[key] = row["id"]
    return classes
