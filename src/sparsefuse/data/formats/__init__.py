"""Public data sets as they are distributed, turned into a manifest; one file per data set, found by its name.

A file here defines `prepare(source: Path, out: Path) -> Path`: it reads the unpacked data set in `source`, writes
feature files and a manifest into `out`, and returns the manifest's path.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

from sparsefuse.names import unknown
from sparsefuse.table import read_table


def formats() -> list[str]:
    """The names of the data sets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def prepare(name: str, source: str | Path, out: str | Path) -> Path:
    """Turns data set `name` in folder `source` into files and a manifest in folder `out`; returns the manifest."""
    if name not in formats():
        raise ValueError(unknown("format", name, formats()))
    source = Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f"{name}: folder {source} not found; expected the unpacked data set")
    return importlib.import_module(f"{__name__}.{name}").prepare(source, Path(out))


def demand(name: str, source: Path, *patterns: str) -> list[Path]:
    """The first file in `source` that fits each pattern; for the formats' own use."""
    found = [next(iter(sorted(source.glob(pattern))), None) for pattern in patterns]
    missing = [pattern for pattern, path in zip(patterns, found, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(f"{name}: {source} has no {' and no '.join(missing)}; expected {', '.join(patterns)}")
    return [path for path in found if path is not None]


def demand_names(path: Path, names: Iterable[str]) -> None:
    """Raises ValueError unless every name from `path` can be a file's, in the folder it is meant for."""
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ValueError(f"{path}: {name!r} names a file; expected letters, digits, - _ and . (not first) only")


def demand_columns(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a table that must have `columns`; for the formats' own use."""
    table = read_table(path)
    for name in columns:
        if name not in table.columns:
            raise ValueError(f"{path}: {unknown('column', name, table.columns)}; expected {', '.join(columns)}")
    return table.rows
