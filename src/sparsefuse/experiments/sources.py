"""sources.json, beside extracted features: the files that they were made of, as they were when a run began with them.

What a run of other files would make takes the place of the features that it learned from: so they are looked at first.
"""

from dataclasses import dataclass
from pathlib import Path

from sparsefuse.data.contents import hash_file, media_path
from sparsefuse.features import PART
from sparsefuse.files.rows import Table, numbered, read_table
from sparsefuse.files.typed import read, write
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Extract
from sparsefuse.shown import counted, shown

NAME = "sources.json"


@dataclass(frozen=True)
class Source:
    """A file as it was."""

    size: int
    """bytes"""
    changed: str
    """nanoseconds of its last change: more than a number of JSON holds"""
    hash: str


@dataclass(frozen=True)
class Sources:
    """The cells of a manifest that features were made of, and their files."""

    clips: dict[str, dict[str, str]]
    """id -> column -> cell: a file, words, or a time"""
    files: dict[str, Source]
    """by cell; not those of the web"""


def note_sources(manifest: Path, made: Path) -> None:
    """Writes what the features in `made` were extracted of."""
    columns = {str(spec.get("source", "")) for spec in read(Extract, made / "features.json").features.values()}
    table = numbered(read_table(manifest))
    clips = {row["id"]: {name: row[name] for name in table.columns if name in {*columns, *PART}} for row in table.rows}
    cells = {cell for clip in clips.values() for cell in clip.values() if cell}
    found = {cell: _looked(path) for cell in sorted(cells) if (path := _file(cell, manifest))}
    write(made / NAME, Sources(clips, found))


def check_sources(run: RunFolder, manifest: Path, table: Table, made: Path) -> None:
    """Raises ValueError, before anything is extracted, if the clips are others than those that the features of the run,
    in `made`, were extracted of, or hold something else. Of features that an older version made, nothing is known."""
    if not (made / NAME).is_file():
        return
    began = read(Sources, made / NAME)
    same = _Same(began, manifest)
    rows = {row["id"]: row for row in numbered(table).rows}
    for what, some in (("new", rows.keys() - began.clips), ("gone", began.clips.keys() - rows)):
        if some:
            raise ValueError(
                f"{run.path} was started with other clips: {len(some)} {what}, such as {min(some):.60}; restore them, "
                "give another folder, or remove this one"
            )
    others = [
        (id, rows[id].get(name, ""))
        for id, clip in began.clips.items()
        for name, cell in clip.items()
        if not same(cell, rows[id].get(name, ""))
    ]
    if others:
        clips = len({id for id, _ in others})
        raise ValueError(
            f"{run.path} was started with other contents of these clips: {counted(clips, 'clip')} changed since, such "
            f"as {others[0][0]:.60} ({shown(others[0][1])}); restore them, give another folder, or remove this one"
        )


class _Same:
    """Whether a cell now holds what one held then; a file is read only if it was written since."""

    def __init__(self, began: Sources, manifest: Path) -> None:
        self._began, self._manifest = began, manifest
        self._hashes: dict[str, str] = {}

    def __call__(self, before: str, now: str) -> bool:
        then, path = self._began.files.get(before), _file(now, self._manifest)
        if then is None or path is None:
            return before == now and (then is None) == (path is None)
        status = path.stat()
        if (status.st_size, str(status.st_mtime_ns)) == (then.size, then.changed) and before == now:
            return True
        return status.st_size == then.size and self._hash(now, path) == then.hash

    def _hash(self, cell: str, path: Path) -> str:
        if cell not in self._hashes:
            self._hashes[cell] = hash_file(path)
        return self._hashes[cell]


def _file(cell: str, manifest: Path) -> Path | None:
    """The file that a cell names, if it is there."""
    try:
        path = media_path(cell, manifest.parent)
        return path if cell and path.is_file() else None
    except (OSError, ValueError):  # words that no file can be called
        return None


def _looked(path: Path) -> Source:
    status = path.stat()
    return Source(status.st_size, str(status.st_mtime_ns), hash_file(path))
