"""The scenes that files on a command line stand for: paths in; names, and pictures by stream, out."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.data.pixels.read import PICTURES
from sparsefuse.errors import near_file
from sparsefuse.files.references import suffix
from sparsefuse.files.rows import SUFFIXES, check_ids, numbered, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.pairs import with_pairs
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.shown import shown


class Named(NamedTuple):
    """One scene."""

    name: str
    pictures: Mapping[str, Path] | Unusable
    """by stream; Unusable for an invalid line of standard input"""
    named_in: Path | None
    """folder of the table that names the pictures; None if the caller does"""


def named_scenes(files: Sequence[Path], predictor: PixelPredictor) -> Iterator[Named]:
    """A manifest stands for its rows, of which the streams' columns are read; a folder for its subfolders, called as
    the streams are, whose pictures of one name are a scene; stream=picture, several in a row, for one scene; - for
    lines of JSON on standard input, {stream: path}; a picture for a scene of a run with one stream.

    Raises FileNotFoundError or ValueError for anything else.
    """
    for path in with_pairs(files, predictor.model.streams):
        if isinstance(path, dict):
            pictures = {stream: Path(picture) for stream, (picture,) in path.items()}
            yield Named(next(iter(pictures.values())).stem, pictures, None)
        elif str(path) == "-":
            yield from _lines()
        elif path.is_dir():
            yield from _folder(path, predictor)
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            yield from _rows(path, predictor)
        elif suffix(str(path)) in PICTURES and len(predictor.streams) == 1:
            yield Named(path.stem, {predictor.streams[0]: path}, None)
        else:
            raise _unknown(path, predictor)


def _unknown(path: Path, predictor: PixelPredictor) -> Exception:
    pairs = " ".join(f"{name}={name}.png" for name in predictor.streams)
    hint = f"expected {pairs}, a folder with {'/ '.join(predictor.streams)}/, or a manifest with these columns"
    if not path.exists():
        return FileNotFoundError(f"{path}: there is no such file{near_file(path) or f'; {hint}'}")
    return ValueError(f"{path}: which stream is it? {hint}")


def _folder(folder: Path, predictor: PixelPredictor) -> Iterator[Named]:
    """Scenes of folder/stream/name.png."""
    scenes: dict[str, dict[str, Path]] = {}
    twice: dict[str, Unusable] = {}
    for stream in predictor.streams:
        inside = folder / stream
        for path in sorted(inside.iterdir()) if inside.is_dir() else []:
            if path.suffix.lower() in PICTURES and path.is_file():
                scene = scenes.setdefault(path.stem, {})
                if stream in scene:
                    why = f"{path} and {scene[stream].name} are both its {stream}; rename one"
                    twice.setdefault(path.stem, Unusable(why))
                scene[stream] = path
    if not scenes:
        raise FileNotFoundError(
            f"{folder} has no pictures in folders called as the streams; expected "
            f"{', '.join(f'{folder / name}/0001.png' for name in predictor.streams)}"
        )
    yield from (Named(name, twice.get(name) or scenes[name], None) for name in sorted(scenes))


def _rows(path: Path, predictor: PixelPredictor) -> Iterator[Named]:
    table = numbered(read_table(path))
    check_ids(path, table)
    present = [name for name in predictor.streams if name in table.columns]
    if not present:
        raise ValueError(
            f"{path}: no column is one of {', '.join(predictor.streams)}, which the model reads; columns: "
            f"{', '.join(table.columns):.300}; rename one"
        )
    for row in table.rows:
        yield Named(row["id"], {name: path.parent / row[name] for name in present if row[name]}, path.parent)


def _lines() -> Iterator[Named]:
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        name = f"line {number}"
        try:
            paths = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Named(name, Unusable(f"not JSON ({str(error)[:100]}): {shown(line.strip())}"), None)
            continue
        if not isinstance(paths, dict) or not all(isinstance(value, str) for value in paths.values()):
            yield Named(name, Unusable(f"expected {{stream: path}}; got {shown(line.strip())}"), None)
            continue
        name = paths.pop("id", name)
        yield Named(name, {stream: Path(value) for stream, value in paths.items()}, Path())
