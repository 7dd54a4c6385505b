"""The clips of a manifest that still have to be extracted, shard by shard."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.features._clip import Clip, Make
from sparsefuse.features._part import NAMES, WHOLE, Part, part_of
from sparsefuse.features._shards import ROWS, Shards, Wanted, key_names, made_from
from sparsefuse.files.rows import Table
from sparsefuse.media import MediaLimits
from sparsefuse.media.fetch import WORDS, is_url, version

_CONNECTIONS = 16  # at a time, for the versions of files
_FETCHED = ".fetched"


class Spec(NamedTuple):
    """How one modality is extracted."""

    modality: str
    extractor: str
    source: str
    """manifest column"""
    whole: bool
    """read the whole file, whatever part the row names"""
    options: dict[str, Any]
    fingerprint: str
    text: bool = False
    """the column's cells are the words themselves, not files"""


def parts_of(path: Path, table: Table) -> list[Part | None]:
    """The part of each row by the columns `start` and `end`. Raises ValueError with the line of an invalid time."""
    if not set(NAMES) & set(table.columns):
        return [None] * len(table.rows)
    return [_part(path, line, row) for line, row in zip(table.lines, table.rows, strict=True)]


def _part(path: Path, line: int, row: dict[str, str]) -> Part | None:
    try:
        return part_of(row)
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {error}") from error


class Group(NamedTuple):
    """The rows of one shard."""

    shard: int
    rows: int
    wanted: dict[str, list[tuple[int, Wanted]]]
    """modality -> (row, clip) of those rows that have a source"""
    clips: list[Clip]
    """those still to be extracted"""


class Plan:
    """The work of one run. It goes through the rows once and holds one shard of them at a time."""

    def __init__(
        self,
        table: Table,
        parts: Sequence[Part | None],
        specs: Sequence[Spec],
        root: Path,
        out: Path,
        limits: MediaLimits,
    ) -> None:
        self.table, self.specs, self._parts, self._root, self.out, self._limits = (
            table,
            specs,
            parts,
            root,
            out,
            limits,
        )
        self._names = key_names([row["id"] for row in table.rows])
        places = {name: row // ROWS for row, name in enumerate(self._names)}
        self._shards = {spec.modality: Shards(out / spec.modality, places) for spec in specs}
        self.total = sum(bool(row[spec.source]) for row in table.rows for spec in specs)
        self.reused = 0

    def groups(self) -> Iterator[Group]:
        """The shards' rows, in order."""
        for shard in range(self._count()):
            rows = range(shard * ROWS, min((shard + 1) * ROWS, len(self.table.rows)))
            wanted = self._wanted(rows)
            clips: dict[tuple[int, str], list[Make]] = {}
            for spec in self.specs:
                shards = self._shards[spec.modality]
                pairs = wanted[spec.modality]
                row_of = {clip.name: row for row, clip in pairs}
                todo = shards.begin(shard, [clip for _, clip in pairs])
                self.reused += len(pairs) - len(todo)
                for clip in todo:
                    row = row_of[clip.name]
                    make = Make(spec.modality, spec.whole, clip.name, shards.part(clip))
                    clips.setdefault((row, self._source(row, spec)), []).append(make)
            todo_clips = [self._clip(row, source, clips[row, source]) for row, source in sorted(clips)]
            yield Group(shard, len(rows), wanted, todo_clips)

    def pack(self, group: Group, failed: set[tuple[int, str]]) -> None:
        """Writes the shards of a group whose clips are all done, without the failed (row, modality)."""
        for modality, pairs in group.wanted.items():
            done = [clip for row, clip in pairs if (row, modality) not in failed]
            self._shards[modality].end(group.shard, done)

    def reference(self, row: int, spec: Spec) -> str:
        """How the new manifest names a clip's features."""
        name = self._names[row]
        return f"{spec.modality}/{self._shards[spec.modality].place(row // ROWS, name)}#{name}"

    def finish(self) -> None:
        """Removes features that no row of the manifest has, and temporary files."""
        for shards in self._shards.values():
            shards.finish(self._count())
        fetched = self.out / _FETCHED
        if fetched.is_dir():
            for copy in fetched.iterdir():
                copy.unlink()
            fetched.rmdir()

    def close(self) -> None:
        """Closes all shards."""
        for shards in self._shards.values():
            shards.close()

    def _count(self) -> int:
        return -(-len(self.table.rows) // ROWS)

    def _wanted(self, rows: range) -> dict[str, list[tuple[int, Wanted]]]:
        pairs = [(row, spec) for spec in self.specs for row in rows if self.table.rows[row][spec.source]]
        sources = sorted({self._source(row, spec) for row, spec in pairs})
        if self._limits.roots is not None:  # a URL is refused when its clip is read
            versions = {source: "" if is_url(source) else version(source) for source in sources}
        elif any(is_url(source) for source in sources):
            with ThreadPoolExecutor(_CONNECTIONS) as threads:
                versions = dict(zip(sources, threads.map(version, sources), strict=True))
        else:
            versions = {source: version(source) for source in sources}
        wanted: dict[str, list[tuple[int, Wanted]]] = {spec.modality: [] for spec in self.specs}
        for row, spec in pairs:
            source = self._source(row, spec)
            part = None if spec.whole else self._parts[row]
            key = made_from(versions[source], source, part, spec.fingerprint)
            wanted[spec.modality].append((row, Wanted(self._names[row], key)))
        return wanted

    def _source(self, row: int, spec: Spec) -> str:
        cell = self.table.rows[row][spec.source]
        if spec.text:
            return f"{WORDS}{cell}"
        return cell if is_url(cell) else str(self._root / cell)

    def _clip(self, row: int, source: str, makes: list[Make]) -> Clip:
        start, end = self._parts[row] or WHOLE
        return Clip(row, source, start, end, tuple(makes), self._limits, self.out / _FETCHED)
