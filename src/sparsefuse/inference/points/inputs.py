"""The scenes that files on a command line stand for: paths in; names, and files by part, out."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.config.points import Points
from sparsefuse.errors import near_file
from sparsefuse.files.references import suffix
from sparsefuse.files.rows import SUFFIXES, check_ids, numbered, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.pairs import with_pairs
from sparsefuse.runs.parts import OF_CLOUDS
from sparsefuse.shown import shown

CLOUDS = (".npz", ".npy", ".ply", ".mat")
"""suffixes of files that are clouds, where nobody says so"""
HINT = "expected cloud=a.npz cameras=a.json, a folder with cloud/ and cameras/, or a manifest with these columns"


class Named(NamedTuple):
    """One scene."""

    name: str
    scene: dict[str, Any] | Unusable
    """by part, see `predictor.Scene`; Unusable for an invalid line of standard input"""
    named_in: Path | None
    """folder of the table that names the files; None if the caller does"""


def named_scenes(files: Sequence[Path], points: Points) -> Iterator[Named]:
    """A manifest stands for its rows, of which the columns in `points` are read; a folder for its cloud/ with cameras/
    of the same names; cloud=a.npz, with cameras=a.json and any number of rgb=a.png, for one scene; a cloud for itself;
    - for lines of JSON on standard input, {"cloud": path, "cameras": path}.

    Raises FileNotFoundError or ValueError for anything else.
    """
    for path in with_pairs(files, OF_CLOUDS, several=("rgb",)):
        if isinstance(path, dict):
            rgb = {"rgb": [*map(Path, path.pop("rgb"))]} if "rgb" in path else {}
            yield _single({part: Path(file) for part, (file,) in path.items()} | rgb)
        else:
            yield from _of(path, points)


def _of(path: Path, points: Points) -> Iterator[Named]:
    if str(path) == "-":
        yield from _lines()
    elif path.is_dir():
        yield from _folder(path)
    elif path.suffix.lower() in SUFFIXES and path.is_file():
        yield from _rows(path, points)
    elif suffix(str(path)) in CLOUDS and path.is_file():
        yield Named(path.stem, {"cloud": path}, None)
    elif not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file{near_file(path) or f'; {HINT}'}")
    else:
        raise ValueError(f"{path}: is not a known kind of cloud; {HINT}")


def _single(scene: dict[str, Any]) -> Named:
    if "cloud" not in scene:
        raise ValueError(f"{' '.join(f'{part}=...' for part in scene)}: a scene needs a cloud; {HINT}")
    return Named(scene["cloud"].stem, scene, None)


def _folder(folder: Path) -> Iterator[Named]:
    """Scenes of folder/cloud/name.npz."""
    inside = folder / "cloud"
    clouds = sorted(path for path in inside.iterdir() if path.suffix.lower() in CLOUDS) if inside.is_dir() else []
    if not clouds:
        raise FileNotFoundError(f"{folder} has no clouds; expected {inside / '0001.npz'}")
    for path in clouds:
        cameras = folder / "cameras" / f"{path.stem}.json"
        yield Named(path.stem, {"cloud": path, "root": folder} | ({"cameras": cameras} if cameras.is_file() else {}),
                    None)  # fmt: skip


def _rows(path: Path, points: Points) -> Iterator[Named]:
    table = numbered(read_table(path))
    check_ids(path, table)
    if points.cloud not in table.columns:
        columns = ", ".join(table.columns)
        raise ValueError(f"{path}: no column is {points.cloud}, which the model reads; columns: {columns:.300}")
    root = path.parent
    for row in table.rows:
        scene: dict[str, Any] = {"root": root}
        for part, column in (("cloud", points.cloud), ("cameras", points.cameras)):
            if row.get(column):
                scene[part] = root / row[column]
        yield Named(row["id"], scene, root)


def _lines() -> Iterator[Named]:
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        name = f"line {number}"
        try:
            scene = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Named(name, Unusable(f"not JSON ({str(error)[:100]}): {shown(line.strip())}"), None)
            continue
        texts = {"id", "cloud", "cameras", "root"}
        if not isinstance(scene, dict) or not all(
            isinstance(value, str) if part in texts else part == "rgb" and _are_texts(value)
            for part, value in scene.items()
        ):
            why = f'expected {{"cloud": path, "cameras": path, "rgb": [paths]}}; got {shown(line.strip())}'
            yield Named(name, Unusable(why), None)
            continue
        yield Named(str(scene.pop("id", name)), scene, Path())


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
