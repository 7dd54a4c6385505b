"""Packs feature files of single clips into files of many clips, with a journal of their sources.

`00000.safetensors` holds the clips of the manifest's rows 0 to 63, `00001` those of 64 to 127, and so on; but a clip of
1 MiB or more is a file of its own, `00000/<clip>.safetensors`, so that its bytes are written once. Until all of a
shard's clips are done, each is a file below `.parts`, named by the hash of its source: a kill at any moment leaves
complete parts and shards. A file's bytes, and its name, depend only on its clips.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from sparsefuse.features._clip import disk_full
from sparsefuse.files.shard import Stored, places, save
from sparsefuse.files.whole import replacing

ROWS = 64
"""Rows of the manifest per shard."""
ALONE = 2**20
"""Bytes from which a clip is a file of its own."""
_JOURNAL = ".made.jsonl"


class Wanted(NamedTuple):
    """One clip of a shard."""

    name: str
    """its key within the shard"""
    made_from: str
    """changes when the source, the extractor or its options change; empty when the source's version is unknown"""


class _Contents(NamedTuple):
    """The clips of a shard: name -> hash of the source."""

    packed: dict[str, str]
    """in one file, in this order"""
    alone: dict[str, str]
    """in files of their own"""

    def get(self, name: str) -> str:
        return self.packed.get(name) or self.alone.get(name, "")


class Shards:
    """The folder of one modality."""

    def __init__(self, folder: Path, names: Mapping[str, int]) -> None:
        """`names`: all keys of the manifest, each with its shard."""
        self.folder, self._names = folder, names
        self._parts = folder / ".parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        for left_over in [*folder.glob(".*.safetensors"), *self._parts.glob(".*")]:  # of a run that was killed
            left_over.unlink()
        self._contents = self._journal()  # by shard
        self._at = {
            name: shard for shard, of_shard in self._contents.items() for name in of_shard.packed | of_shard.alone
        }
        self._file: IO[str] | None = None

    def part(self, wanted: Wanted) -> Path:
        """The file for a clip that is extracted now."""
        return self._parts / f"{wanted.name}.{(wanted.made_from or 'unknown')[:32]}.safetensors"

    def begin(self, shard: int, wanted: Sequence[Wanted]) -> list[Wanted]:
        """The clips of a shard that are still to be extracted.

        Finished clips that move between this shard and others become parts.
        """
        here = {clip.name for clip in wanted}
        present = self._of(shard)
        for name in [*present.packed, *present.alone]:
            if name not in here and name in self._names:
                self._unpack(shard, Wanted(name, present.get(name)))
        missing = []
        for clip in wanted:
            if clip.made_from and present.get(clip.name) == clip.made_from:
                continue
            other = self._at.get(clip.name, shard)
            if other != shard and clip.made_from and self._of(other).get(clip.name) == clip.made_from:
                self._unpack(other, clip)
            if not (clip.made_from and _is_whole(self.part(clip))):
                missing.append(clip)
        return missing

    def end(self, shard: int, done: Sequence[Wanted]) -> None:
        """Writes the shard of these clips, in their order, unless it is up to date. Raises OSError on a full disk."""
        old, new = self._of(shard), _Contents({}, {})
        parts: dict[str, Path] = {}
        packed: dict[str, Stored] = {}
        old_places = places(self._path(shard)) if old.packed else {}
        for clip in done:
            if clip.made_from and old.alone.get(clip.name) == clip.made_from:
                new.alone[clip.name] = clip.made_from
                continue
            if clip.made_from and old.packed.get(clip.name) == clip.made_from:
                stored = old_places[clip.name]
            else:
                parts[clip.name] = self.part(clip)
                stored = places(self.part(clip))[clip.name]
            if stored.nbytes >= ALONE:
                new.alone[clip.name] = clip.made_from
            else:
                new.packed[clip.name] = clip.made_from
                packed[clip.name] = stored
        if parts or list(new.packed) != list(old.packed) or new.alone.keys() != old.alone.keys():
            self._write(shard, new, packed, {name: parts[name] for name in new.alone if name in parts})
            self._contents[shard] = new
            for part in parts.values():
                part.unlink(missing_ok=True)

    def place(self, shard: int, name: str) -> str:
        """The file of a finished clip, relative to the folder."""
        return f"{shard:05d}/{name}.safetensors" if name in self._of(shard).alone else f"{shard:05d}.safetensors"

    def finish(self, count: int) -> None:
        """Removes files that no clip of the manifest needs; `count` is the number of shards."""
        for path in self.folder.glob("*.safetensors"):
            if not path.stem.isdigit() or int(path.stem) >= count:
                path.unlink()
        for folder in [path for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit()]:
            needed = self._of(int(folder.name)).alone if int(folder.name) < count else {}
            for path in folder.glob("*.safetensors"):
                if path.stem not in needed:
                    path.unlink()
            if not needed:
                folder.rmdir()
        shutil.rmtree(self._parts)
        self.close()

    def close(self) -> None:
        """Closes the journal."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _of(self, shard: int) -> _Contents:
        return self._contents.get(shard, _Contents({}, {}))

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.safetensors"

    def _path_alone(self, shard: int, name: str) -> Path:
        return self.folder / f"{shard:05d}" / f"{name}.safetensors"

    def _unpack(self, shard: int, clip: Wanted) -> None:
        target = self.part(clip)
        if target.exists():
            return
        if clip.name in self._of(shard).alone:
            os.replace(self._path_alone(shard, clip.name), target)
            del self._of(shard).alone[clip.name]
            return
        stored = places(self._path(shard))[clip.name]
        with disk_full(target), replacing(target, durable=False) as temporary:
            save(temporary, {clip.name: stored})

    def _write(self, shard: int, new: _Contents, packed: Mapping[str, Stored], moved: Mapping[str, Path]) -> None:
        """Writes the clips: `packed` into one file, `moved` are parts that become files of their own.

        The journal is written before a file is renamed, so that it has a line for all files that a kill leaves.
        """
        target = self._path(shard)
        stamps = {name: _stamp(moved.get(name, self._path_alone(shard, name))) for name in new.alone}
        alone = {name: (stamps[name], new.alone[name]) for name in new.alone}
        if packed:
            with disk_full(target), replacing(target) as temporary:
                save(temporary, packed)
                self._note({"shard": shard, "stamp": _stamp(temporary), "made": new.packed, "alone": alone})
        else:
            self._note({"shard": shard, "stamp": "missing", "made": {}, "alone": alone})
            target.unlink(missing_ok=True)
        for name, part in moved.items():
            self._path_alone(shard, name).parent.mkdir(exist_ok=True)
            os.replace(part, self._path_alone(shard, name))

    def _note(self, entry: dict[str, object]) -> None:
        if self._file is None:
            self._file = (self.folder / _JOURNAL).open("a", encoding="utf-8")
        # The line break comes first, so that a line torn by a kill spoils no other.
        self._file.write("\n" + json.dumps(entry))
        self._file.flush()

    def _journal(self) -> dict[int, _Contents]:
        """The contents of each shard, for files whose stamp is in the journal."""
        contents: dict[int, _Contents] = {}
        stamps: dict[Path, str] = {}

        def same(path: Path, stamp: str) -> bool:
            if path not in stamps:
                stamps[path] = _stamp(path)
            return stamps[path] == stamp

        for entry in _entries(self.folder / _JOURNAL):
            shard = entry["shard"]
            before = contents.setdefault(shard, _Contents({}, {}))
            if same(self._path(shard), entry["stamp"]):
                contents[shard] = before._replace(packed=entry["made"])
            for name, (stamp, made_from) in entry["alone"].items():
                if same(self._path_alone(shard, name), stamp):
                    before.alone[name] = made_from
        return contents


def key_names(ids: Sequence[str]) -> list[str]:
    """A safe name for every id; unique even if case is ignored."""
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".")[:80] for name in ids]
    counts: dict[str, int] = {}
    for name in plain:
        counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
    # "~" is in no plain name, so a name with a hash meets no other.
    return [
        safe if safe == name != "__metadata__" and counts[safe.casefold()] == 1 else f"{safe}~{_digest(name)[:16]}"
        for name, safe in zip(ids, plain, strict=True)
    ]


def made_from(version: str, *others: object) -> str:
    """A hash of the source's version, and of everything else that affects the features; empty without a version."""
    return version and _digest(json.dumps([version, *others], sort_keys=True, default=str))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _is_whole(part: Path) -> bool:
    """Whether a part is there, and as long as its header says: a loss of power can leave it empty."""
    try:
        return part.stat().st_size == max(stored.begin + stored.nbytes for stored in places(part).values())
    except (OSError, ValueError):
        return False


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # empty, or torn by a kill
            yield entry
