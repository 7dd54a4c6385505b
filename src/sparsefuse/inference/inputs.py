"""The clips that files on a command line stand for: paths in; names, and clips for a predictor, out."""

import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparsefuse.files.references import FILES
from sparsefuse.files.rows import SUFFIXES, check_ids, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.predictor import Clip, Predictor
from sparsefuse.shown import shown


def named_clips(files: Sequence[Path], predictor: Predictor) -> Iterator[tuple[str, Clip | Unusable]]:
    """(name, clip) of every file; a manifest stands for its rows, of which the predictor's columns are read; - for the
    lines of standard input."""
    return ((name, clip) for name, clip, _ in named(files, predictor))


def named(files: Sequence[Path], predictor: Predictor) -> Iterator[tuple[str, Clip | Unusable, Path | None]]:
    """(name, clip, folder of what named it) of every clip; None if that is the caller."""
    for path in files:
        if str(path) == "-":
            yield from ((name, clip, Path()) for name, clip in _lines(predictor.columns))
        elif path.suffix.lower() in SUFFIXES and not is_readings(path, predictor):
            yield from ((name, clip, path.parent) for name, clip in _rows(path, predictor.columns))
        else:
            yield str(path), path, None


def is_readings(path: Path, predictor: Predictor) -> bool:
    """Whether a table is a clip's, of a sensor or of words, rather than a manifest: that has ids and names files."""
    if not predictor.reads_tables:
        return False
    try:
        table = read_table(path)
    except ValueError:
        return not re.match(rb"\W*id\W", path.read_bytes()[:99], re.IGNORECASE)
    return "id" not in table.columns or not any(table.holds(name, FILES) for name in table.columns)


def _rows(path: Path, columns: list[str]) -> Iterator[tuple[str, Clip]]:
    table = read_table(path)
    check_ids(path, table)
    present = [name for name in columns if name in table.columns]
    if not present:
        raise ValueError(
            f"{path}: no column is one of {', '.join(columns)}, which the model reads; columns: "
            f"{', '.join(table.columns)}; rename one"
        )
    for row in table.rows:
        yield row["id"], {name: path.parent / row[name] for name in present if row[name]}


def _lines(columns: list[str]) -> Iterator[tuple[str, Clip | Unusable]]:
    """A clip per line of standard input: the path of a media file, or {modality: path} as JSON, with an `id` if it has
    one. A line that is neither gives an Unusable."""
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no UTF-8 stay what they are: names of files
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(sys.stdin, 1):
        text = line.strip()
        if not text:
            continue
        if not text.startswith("{"):
            yield text, Path(text)
            continue
        name = f"line {number}"
        try:
            paths = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield name, Unusable(f"not JSON ({str(error)[:100]}): {shown(text)}")
            continue
        name = str(paths.pop("id", name))
        wrong = [key for key, value in paths.items() if key not in columns or not isinstance(value, str)]
        if wrong:
            yield (
                name,
                Unusable(
                    f"expected the paths of {', '.join(columns)}; got {shown(wrong[0])!r}: {shown(paths[wrong[0]])!r}"
                ),
            )
        else:
            yield name, {key: Path(value) for key, value in paths.items()}
