"""Public data sets as they are distributed, turned into a manifest; one file per data set, found by its name.

A file here defines `prepare(source: Path, out: Path, *, options...) -> Path`: it reads the unpacked data set in
`source`, writes feature files and a manifest into `out`, and returns the manifest's path. Its options are typed and
have defaults. With `FILES`, patterns of names, `source` may also be one file of such a name.
"""

import ast
import csv
import importlib
import inspect
import logging
import pkgutil
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

from sparsefuse.errors import unknown
from sparsefuse.files.rows import read_table
from sparsefuse.shown import counted

log = logging.getLogger(__name__)


def formats() -> list[str]:
    """The names of the data sets, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def guide(name: str = "") -> str:
    """A line about each data set; for the data set `name`, its docstring and options."""
    if name not in formats():
        width = max(map(len, formats()))
        return "\n".join(f"  {each:{width}}  {_docstring(each).splitlines()[0]}" for each in formats())
    module = importlib.import_module(f"{__name__}.{name}")
    text = "\n\n".join(inspect.cleandoc(part) for part in (module.__doc__ or "", module.prepare.__doc__ or ""))
    options = [p for p in inspect.signature(module.prepare).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return text + "".join(f"\n  --options.{option}" for option in options)


def prepare(name: str, source: str | Path, out: str | Path, options: Mapping[str, Any] | None = None) -> Path:
    """Turns data set `name` in `source` into files and a manifest in folder `out`; returns the manifest.

    `source` is the unpacked folder, an archive of it (unpacked into `out`/unpacked), or for some data sets one file.
    Raises ValueError or FileNotFoundError if `source` is not the data set, with the nearest match.
    """
    if name not in formats():
        raise ValueError(unknown("format", name, formats()))
    module = importlib.import_module(f"{__name__}.{name}")
    chosen = _resolved(name, module, options or {})
    manifest = module.prepare(_opened(name, module, Path(source), Path(out)), Path(out), **chosen)
    rows = read_table(manifest).rows
    splits = Counter(row["split"] for row in rows if row.get("split"))
    divided = ", ".join(f"{split} {count}" for split, count in splits.items())
    log.info("%s: %s%s", name, counted(len(rows), "clip"), divided and f" ({divided})")
    return manifest


def _opened(name: str, module: ModuleType, source: Path, out: Path) -> Path:
    """The folder or file that a recipe reads."""
    from sparsefuse.data.archives import is_archive, unpack

    patterns = getattr(module, "FILES", ())
    expected = " or ".join(["the unpacked data set", "an archive of it", *(f"a file {each}" for each in patterns)])
    if not source.exists():
        raise FileNotFoundError(f"{name}: folder {source} not found; expected {expected}")
    if source.is_dir():
        return source.resolve()  # so that the way back to it from `out` does not go through a link
    if is_archive(source):
        return unpack(source, out / "unpacked")
    if not any(fnmatch(source.name, pattern) for pattern in patterns):
        raise ValueError(f"{name}: {source} is a file; expected {expected}")
    return source


def _resolved(name: str, module: ModuleType, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, typed. Raises ValueError for a wrong one."""
    from argparse import ArgumentError

    from jsonargparse import ArgumentParser

    names = [p.name for p in inspect.signature(module.prepare).parameters.values() if p.kind is p.KEYWORD_ONLY]
    kinds = {p.name: p.annotation for p in inspect.signature(module.prepare, eval_str=True).parameters.values()}
    for option, value in options.items():
        if option not in names:
            raise ValueError(unknown(f"option of {name}:", option, names))
        if get_origin(kinds[option]) is Literal and value not in get_args(kinds[option]):
            raise ValueError(f"{name}: {unknown(option, str(value), get_args(kinds[option]))}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(module.prepare, skip={"source", "out"})
    try:
        return parser.instantiate(parser.parse_object(dict(options))).as_dict()
    except ArgumentError as error:
        raise ValueError(f"{name}: {error}") from error


def _docstring(name: str) -> str:
    """Without importing it: --help must be quick."""
    path = Path(__path__[0]) / f"{name}.py"
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def demand(name: str, source: Path, *patterns: str) -> list[Path]:
    """The first file in `source` that matches each pattern; for the formats' own use."""
    paths = [next(iter(sorted(source.glob(pattern))), None) for pattern in patterns]
    missing = [pattern for pattern, path in zip(patterns, paths, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(f"{name}: {source} has no {' and no '.join(missing)}; expected {', '.join(patterns)}")
    return [path for path in paths if path is not None]


def demand_one(name: str, source: Path, *patterns: str) -> Path:
    """`source` itself if it is a file, else the only file in it that matches one of the patterns."""
    if source.is_file():
        return source
    paths = sorted({path for pattern in patterns for path in source.glob(pattern)})
    if not paths:
        raise FileNotFoundError(f"{name}: {source} has no {' and no '.join(patterns)}")
    if len(paths) > 1:
        raise ValueError(f"{name}: {source} has {', '.join(path.name for path in paths[:5])}; name one of the files")
    return paths[0]


def demand_names(path: Path, names: Iterable[str]) -> None:
    """Raises ValueError unless every name from `path` is a safe file name, without a folder."""
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


def demand_cells(path: Path, *columns: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a CSV file without a header whose rows have these columns; lines that begin with # are notes."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                if not cells or cells[0].startswith("#"):
                    continue
                if len(cells) != len(columns):
                    got = f"{len(cells)} cells, expected {len(columns)}: {', '.join(columns)}"
                    raise ValueError(f"{path}, line {reader.line_num}: {got}")
                yield reader.line_num, [cell.strip() for cell in cells]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, after line {reader.line_num}: not CSV in UTF-8 ({error})") from error
