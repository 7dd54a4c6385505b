"""Data as Python holds it: a DataFrame, records or arrays in; named columns of cells, and a manifest of them, out."""

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.shards import Shards
from sparsefuse.files.references import FILES, split_ref, suffix
from sparsefuse.files.rows import read_table, write_table
from sparsefuse.shown import counted, shown

log = logging.getLogger(__name__)

Columns = dict[str, list[Any]]
"""name -> a cell per clip, all equally long"""
STREAM = "x"
"""the name of a stream that came without one"""
ROW = ("id", "split", "group", "start", "end")
"""columns that say something of a clip, as in a manifest"""
_FORMS = (
    "a DataFrame, a dict of columns, a list of dicts, arrays (n, N, F) or (n, F), a list of arrays (N, F), of paths or "
    "of sentences, or the path of a manifest"
)


class Streams(NamedTuple):
    """The columns that a model may read, by what their cells are; None where a clip lacks it."""

    arrays: dict[str, list[np.ndarray | None]]
    """(N, F) float32 each, F the same for all clips"""
    files: dict[str, list[str | None]]
    """absolute, or `scheme://...`"""
    texts: dict[str, list[str | None]]
    numbers: tuple[str, ...] = ()
    """the columns of numbers that `x` is made of"""

    @property
    def cells(self) -> dict[str, list[Any]]:
        """All of them."""
        return {**self.arrays, **self.files, **self.texts}


def columns_of(given: Any) -> Columns:
    """The columns of data in any of the forms that `Classifier.fit` names; an array is the column `x`.

    Raises TypeError for another form, ValueError for columns of different lengths or without a row.
    """
    if isinstance(given, str | Path):
        columns = _of_manifest(Path(given))
    elif hasattr(given, "tocsr"):
        raise TypeError(f"sparse data is not supported; got {type(given).__name__}; give X.toarray()")
    elif hasattr(given, "columns") and hasattr(given, "__getitem__"):  # of pandas or another library
        columns = {text: list(given[name]) for text, name in as_texts(given.columns).items()}
    elif isinstance(given, Mapping):
        columns = {text: _cells(text, given[name]) for text, name in as_texts(given).items()}
    elif hasattr(given, "__array__") and not isinstance(given, np.generic):
        columns = _of_array(_numpy(given))
    elif isinstance(given, Sequence):
        columns = _of_list(given)
    else:
        raise TypeError(f"expected {_FORMS}; got {type(given).__name__}")
    counts = {name: len(cells) for name, cells in columns.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"columns have different lengths: {', '.join(f'{n} {count}' for n, count in counts.items())}")
    if not counts or not next(iter(counts.values())):
        raise ValueError(f"no clips: Found array with 0 sample(s); expected {_FORMS}")
    return columns


def streams_of(columns: Mapping[str, list[Any]], wanted: Sequence[str] = ()) -> Streams:
    """The streams among the columns, but for `ROW`; only the `wanted` ones, if there are any.

    Numbers alone are one stream `x`, of one token a row. A column of text is a stream if most of its cells are
    sentences, and else left out, which is logged. Raises ValueError, naming column and row, for cells that cannot be
    read as the others of their column, and if no column is a stream.
    """
    columns = {name: cells for name, cells in columns.items() if name not in ROW and (not wanted or name in wanted)}
    kinds = {name: _kind(cells, name in wanted or len(columns) == 1) for name, cells in columns.items()}
    if kinds and set(kinds.values()) == {"numbers"}:
        for name, cells in columns.items():
            _check_numbers(name, cells)
        rows = [np.asarray(row)[None] for row in zip(*columns.values(), strict=True)]
        return Streams({STREAM: _arrays(STREAM, rows)}, {}, {}, tuple(columns))
    named: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        named.setdefault(kind, []).append(name)
    for kind in sorted(named.keys() - {"array", "file", "text"}):
        log.warning("columns of %s are left out: %s", kind, ", ".join(map(shown, named[kind])))
    for name in (*named.get("array", ()), *named.get("text", ())):
        _check_name(name)
    found = Streams(
        {name: _arrays(name, columns[name]) for name in named.get("array", [])},
        {name: [_file(name, row, cell) for row, cell in enumerate(columns[name])] for name in named.get("file", [])},
        {name: [_text(name, row, cell) for row, cell in enumerate(columns[name])] for name in named.get("text", [])},
    )
    if not found.cells:
        apart = [name for name in columns if kinds[name] != "numbers"]
        alone = f"; numbers are clips if all columns are: leave out {', '.join(map(shown, apart))}"
        raise ValueError(
            f"no column holds clips; columns: {', '.join(map(shown, columns)) or 'none'}; expected arrays (N, F), "
            f"sentences, or paths of files, such as .npy or .mp4{alone if 'numbers' in named else ''}"
        )
    return found


def is_stream(cells: Sequence[Any]) -> bool:
    """Whether a column holds arrays, files or sentences, not a word or a number a clip."""
    return _kind(cells, any_text=False) in ("array", "file", "text")


def write_manifest(out: Path, streams: Streams, columns: Mapping[str, Sequence[object]]) -> Path:
    """Writes arrays as feature files and texts as .txt files below `out`, then manifest.csv, with the other columns as
    text; returns it. If that is there, nothing is written."""
    manifest = out / "manifest.csv"
    if manifest.is_file():
        return manifest
    count = len(next(iter(streams.cells.values())))
    ids = list(map(str, columns.get("id", [f"{row:05d}" for row in range(count)])))
    cells: dict[str, list[str]] = {"id": ids}
    for name, arrays in streams.arrays.items():
        shards = Shards(out, name)
        cells[name] = ["" if x is None else shards.add(id, x) for id, x in zip(ids, arrays, strict=True)]
        shards.close()
    cells |= {name: [file or "" for file in files] for name, files in streams.files.items()}
    cells |= {name: write_texts(out / "texts" / name, texts) for name, texts in streams.texts.items()}
    cells |= {name: ["" if absent(v) else str(v) for v in values] for name, values in columns.items() if name != "id"}
    return write_table(manifest, [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)])


def write_texts(folder: Path, texts: Sequence[str | None]) -> list[str]:
    """A .txt file for each text; returns their absolute paths, empty where there is no text."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = ["" if text is None else str(folder.resolve() / f"{row:05d}.txt") for row, text in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            Path(path).write_text(text, encoding="utf-8")
    return paths


def as_texts(names: Iterable[Any]) -> dict[str, Any]:
    """The text of each name of a column -> the name. Raises ValueError for two columns of one name."""
    found: dict[str, Any] = {}
    for name in names:
        if str(name) in found:
            other = found[str(name)]
            same = f"columns are called {name!r:.60}" if other == name else f"columns, {other!r:.60} and {name!r:.60},"
            raise ValueError(f"two {same}{'' if other == name else ' have the same name as text'}; rename one")
        found[str(name)] = name
    return found


def absent(cell: object) -> bool:
    """Whether there is nothing in a cell: None, NaN, pandas' NA, or an empty text."""
    nan = isinstance(cell, float | np.floating) and cell != cell
    return (
        cell is None
        or cell is np.ma.masked
        or nan
        or type(cell).__name__ in ("NAType", "NaTType")
        or (isinstance(cell, str) and not cell)
    )


def _of_manifest(path: Path) -> Columns:
    """A manifest's cells, those of files with the folder that they are relative to."""
    table = read_table(path)
    columns: Columns = {name: [row[name] for row in table.rows] for name in table.columns}
    for name in table.columns:
        if table.holds(name, FILES):
            cells = columns[name]
            columns[name] = [str(path.parent / cell) if cell and "://" not in cell else cell for cell in cells]
    return columns


def _of_array(values: np.ndarray) -> Columns:
    if values.dtype.kind not in "OUST" and values.ndim in (2, 3):
        return {STREAM: list(values if values.ndim == 3 else values[:, None])}
    if values.ndim == 2:
        return {f"{STREAM}{place}": list(column) for place, column in enumerate(values.T)}
    if values.ndim == 1 and values.dtype.kind in "OUST":
        return _of_list(values.tolist())
    raise ValueError(f"expected {_FORMS}; got an array {values.shape} of {values.dtype}{_hint(values)}")


def _hint(values: np.ndarray) -> str:
    """How an array becomes clips, of its kind and as many axes."""
    if values.dtype.kind in "OUST":
        return "; if it holds numbers, give X.astype(float)"
    if values.ndim == 1:
        return ". Reshape your data: X[:, None] is a clip a number, X[None] one clip"
    clips, tokens = values.shape[:2] or (1, 1)
    what = f"{counted(clips, 'clip')} of {counted(tokens, 'token')}"
    return f". Reshape your data: X.reshape({clips}, {tokens}, -1) is {what}"


def _of_list(values: Sequence[Any]) -> Columns:
    first = next((value for value in values if not absent(value)), None)
    if isinstance(first, Mapping):
        names = as_texts(dict.fromkeys(name for row in values for name in row))
        return {text: [row.get(name) for row in values] for text, name in names.items()}
    if first is not None and not isinstance(first, str | Path) and _depth(first) == 1:
        try:
            return _of_array(np.asarray([_numpy(row) for row in values]))  # rows of numbers
        except ValueError as error:
            raise ValueError(
                "clips are vectors of different lengths; of a number a token, a clip is x[:, None]"
            ) from error
    return {STREAM: list(values)}


def _cells(name: str, cells: Any) -> list[Any]:
    if isinstance(cells, str) or not isinstance(cells, Iterable):
        raise ValueError(f"column {name!r:.60} is {type(cells).__name__}; expected a list with a cell a clip")
    shape = tuple(getattr(cells, "shape", ()))
    if len(shape) == 2:
        raise ValueError(
            f"column {name!r:.60} is one array {shape}; expected a list of arrays (N, F), a clip each, or "
            "one array (n, N, F); of one clip: [x]"
        )
    return list(cells)


def axes_of(given: Any) -> int:
    """Of an array, or a list of arrays; 0 for data with names, and for paths and texts."""
    if hasattr(given, "columns") or isinstance(given, Mapping | str | Path):
        return 0
    rows = given if isinstance(given, Sequence) else _numpy(given)
    first = next((row for row in rows if not absent(row)), "")
    return 0 if isinstance(first, Mapping | str | Path) else 1 + _depth(first)


def _depth(clip: Any) -> int:
    """How many axes a clip has; 2 for lists of different lengths."""
    if isinstance(clip, list | tuple):
        return 1 + max(map(_depth, clip), default=0)
    return getattr(clip, "ndim", 0)


def _numpy(given: Any) -> np.ndarray:
    """Masked values, which numpy would take as they lie there, are NaN, or None among what are no numbers."""
    given = given.detach().cpu() if hasattr(given, "detach") else given
    if np.ma.is_masked(given):
        numbers = given.dtype.kind in "fiub"
        given = given.astype(np.float64).filled(np.nan) if numbers else given.astype(object).filled(None)
    return np.asarray(given)


def _check_name(name: str) -> None:
    """It names files, and streams inside the model."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"{name!r:.60} cannot name a stream; use letters, digits, _ and - only")


def _kind(cells: Sequence[Any], any_text: bool) -> str:
    """What a column holds: array, file, text, words, numbers, or nothing. `any_text`: words are text, too."""
    there = [cell for cell in cells if not absent(cell)]
    if not there:
        return "nothing"
    if not isinstance(there[0], str | Path):
        return "numbers" if np.ndim(there[0]) == 0 and not hasattr(there[0], "__len__") else "array"
    if 2 * sum(suffix(str(cell)) in FILES for cell in there) > len(there):
        return "file"
    return "text" if any_text or 2 * sum(len(str(cell).split()) > 1 for cell in there) > len(there) else "words"


def _check_numbers(name: str, cells: Sequence[Any]) -> None:
    """Raises ValueError or TypeError, naming column and row, for a cell that is no number, or none at all."""
    for row, cell in enumerate(cells):
        if absent(cell):
            raise ValueError(f"{name!r:.60} of clip {row} is missing (NaN or None); fill it in, or leave the clip out")
        try:
            float(cell)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name!r:.60} of clip {row} is {type(cell).__name__}; argument must be numbers; leave the column out"
            ) from error


def _arrays(name: str, cells: Sequence[Any]) -> list[np.ndarray | None]:
    name = f"{name!r:.60}"
    arrays = [None if absent(cell) else _array(f"{name} of clip {row}", cell) for row, cell in enumerate(cells)]
    widths = [0 if x is None else x.shape[1] for x in arrays]
    first = next(row for row, width in enumerate(widths) if width)
    for row, width in enumerate(widths):
        if width not in (0, widths[first]):
            raise ValueError(
                f"{name} of clip {row} has {counted(width, 'feature')}, that of clip {first} {widths[first]}; expected "
                "arrays (N, F) with the same F"
            )
    return arrays


def _array(where: str, cell: Any) -> np.ndarray:
    """(N, F) float32 of numbers; a vector is (N, 1)."""
    try:
        values = _numpy(cell)
    except ValueError as error:
        raise ValueError(f"{where} is not an array of numbers: its rows have different lengths") from error
    if values.dtype.kind == "c":
        raise ValueError(f"{where} holds complex numbers. Complex data not supported")
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{where} holds {type(values.flat[0]).__name__}; argument must be numbers") from error
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{where} holds {values.dtype} values, expected numbers (tokens, features)")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        hint = f": x.reshape({len(values)}, -1) is {counted(len(values), 'token')}" if values.ndim else ""
        raise ValueError(f"{where} has shape {values.shape}; expected (N, F), tokens and features{hint}")
    if 0 in values.shape:
        tokens, features = values.shape
        some = f"{tokens} token(s), {features} feature(s)"
        raise ValueError(f"{where} has {some} (shape={values.shape}) while a minimum of 1 is required.")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(f"{where}: {_not_finite(values, bad)}")
    return values


def _not_finite(values: np.ndarray, bad: np.ndarray) -> str:
    """What of an array (N, F) is not finite, and what to do."""
    kinds = {"NaN": int(np.isnan(values).sum()), "infinite (inf)": int(np.isinf(values).sum())}
    if values.size in kinds.values():
        (kind,) = (kind for kind, count in kinds.items() if count)
        return f"all {values.size} values are {kind}; give None in its place: the clip lacks the stream"
    token, feature = divmod(int(bad.argmax()), values.shape[1])
    counts = " and ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return (
        f"{counts} among {values.size} values, the first at token {token}, feature {feature}; expected finite numbers: "
        "fill them in, or give None in place of the array where a clip lacks the stream"
    )


def _file(name: str, row: int, cell: Any) -> str | None:
    """An absolute path: the manifest lies elsewhere."""
    if absent(cell):
        return None
    if not isinstance(cell, str | Path):
        raise ValueError(f"{name!r:.60} of clip {row} is {type(cell).__name__}; the others are paths")
    file, key = split_ref(str(cell))
    file = file if "://" in file else os.path.abspath(file)
    return f"{file}#{key}" if key else file


def _text(name: str, row: int, cell: Any) -> str | None:
    if absent(cell):
        return None
    if not isinstance(cell, str):
        raise ValueError(f"{name!r:.60} of clip {row} is {type(cell).__name__}; the others are text")
    return cell
