"""Finds the media files below a folder, by the name of their clip."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from sparsefuse.files.references import AUDIO, VIDEO
from sparsefuse.files.skipped import Skip, write_skipped
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

KINDS = {"video": VIDEO, "audio": AUDIO}
"""manifest column -> suffixes of its files"""


def walk(folder: Path) -> list[Path]:
    """All files below `folder`, sorted, but for hidden ones; links to folders are followed, each folder once."""
    paths: list[Path] = []
    visited: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(paths)


def media(folder: Path) -> dict[str, dict[str, Path]]:
    """name without suffix -> {"video": path, "audio": path}, as far as there are any; the first of two wins."""
    clips: dict[str, dict[str, Path]] = {}
    twice = []
    for path in walk(folder):
        for column, suffixes in KINDS.items():
            if path.suffix.lower() in suffixes:
                here = clips.setdefault(path.stem, {})
                twice += [path] if column in here else []
                here.setdefault(column, path)
    if twice:
        count = counted(len(twice), "file")
        log.warning("%s left out because another one has the same name, such as %s", count, twice[0])
    return clips


def refer(path: Path, out: Path) -> str:
    """The manifest's cell for a file or folder, relative to the folder `out`. A link keeps its own name: what it leads
    to, as in the caches of hubs, DVC and git-annex, may have a hash for a name and no suffix."""
    return Path(os.path.relpath(path, out.resolve())).as_posix()


def cells(files: Iterable[dict[str, Path]], out: Path) -> list[dict[str, str]]:
    """The columns of every clip; those that no clip has are left out."""
    files = list(files)
    columns = [column for column in KINDS if any(column in each for each in files)]
    return [{column: refer(each[column], out) if column in each else "" for column in columns} for each in files]


def report_missing(name: str, out: Path, missing: list[tuple[str, str]], total: int, expected: str) -> None:
    """Names each clip (id, reason) without a file in skipped.jsonl. Raises FileNotFoundError if that is all of them."""
    if missing and len(missing) == total:
        raise FileNotFoundError(f"{name}: none of the {total} clips has a file; expected {expected}")
    write_skipped(out / "skipped.jsonl", [Skip(id, "", reason) for id, reason in missing])
    if missing:
        log.warning("%s: %d of %d clips have no file: see %s", name, len(missing), total, out / "skipped.jsonl")
