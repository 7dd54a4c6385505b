"""Feature files of single clips come in, files of many clips come out, and a journal of what each was made from.

`00000.safetensors` holds the clips of the manifest's rows 0 to 63, `00001` those of 64 to 127, and so on. Until all of
a shard's clips are done, each is a file of its own below `.parts`, named by what it was made from: a kill at any moment
leaves whole parts and whole shards. A shard's bytes depend on what is in it alone.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from sparsefuse.features._clip import disk_full
from sparsefuse.files import replacing

ROWS = 64
"""Rows of the manifest per shard."""
_JOURNAL = ".made.jsonl"
_TYPES = {"float32": "F32", "float16": "F16", "uint8": "U8"}
_BLOCK = 2**20


class Wanted(NamedTuple):
    """One clip of a shard."""

    name: str
    """its key within the shard"""
    made_from: str
    """changes when the source, the extractor or its options change; empty when the source is missing"""


class _Stored(NamedTuple):
    """Where the numbers of one clip lie."""

    path: Path
    begin: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


class Shards:
    """The folder of one modality."""

    def __init__(self, folder: Path, names: Mapping[str, int]) -> None:
        """`names`: all keys of the manifest, each with its shard."""
        self.folder, self._names = folder, names
        self._parts = folder / ".parts"
        self._parts.mkdir(parents=True, exist_ok=True)
        for left_over in [*folder.glob(".*.safetensors"), *self._parts.glob(".*.npy")]:  # of a run that was killed
            left_over.unlink()
        self._made = _journal(folder / _JOURNAL, folder)  # shard -> {name: made from}
        self._at = {name: shard for shard, made in self._made.items() for name in made}
        self._file: IO[str] | None = None

    def part(self, wanted: Wanted) -> Path:
        """The file for a clip that is made now."""
        return self._parts / f"{wanted.name}.{(wanted.made_from or 'unknown')[:32]}.npy"

    def begin(self, shard: int, wanted: Sequence[Wanted]) -> list[Wanted]:
        """The clips of a shard that are still to be made.

        Of the shards, what is wanted in this one, and what of this one is wanted elsewhere, becomes parts.
        """
        here = {clip.name for clip in wanted}
        made = self._made.get(shard, {})
        for name, made_from in made.items():
            if name not in here and name in self._names:
                self._unpack(shard, Wanted(name, made_from))
        missing = []
        for clip in wanted:
            if clip.made_from and made.get(clip.name) == clip.made_from:
                continue
            other = self._at.get(clip.name, shard)
            if other != shard and clip.made_from and self._made[other].get(clip.name) == clip.made_from:
                self._unpack(other, clip)
            if not (clip.made_from and self.part(clip).exists()):
                missing.append(clip)
        return missing

    def end(self, shard: int, done: Sequence[Wanted]) -> None:
        """Writes the shard of these clips, in their order, unless it is there. Raises OSError when the disk is full."""
        made = self._made.get(shard, {})
        content = {clip.name: clip.made_from for clip in done}
        if list(content.items()) == list(made.items()):
            return
        target = self._path(shard)
        if content:
            old = _header(target) if made else {}
            reused = {clip.name for clip in done if made.get(clip.name) == clip.made_from}
            found = {c.name: old[c.name] if c.name in reused else _npy(self.part(c)) for c in done}
            self._write(shard, found, content)
        else:
            target.unlink(missing_ok=True)
        self._made[shard] = content
        for clip in done:
            self.part(clip).unlink(missing_ok=True)

    def finish(self, count: int) -> None:
        """Removes what no clip of the manifest needs: `count` is the number of shards."""
        for path in self.folder.glob("*.safetensors"):
            if not path.stem.isdigit() or int(path.stem) >= count:
                path.unlink()
        shutil.rmtree(self._parts)
        self.close()

    def close(self) -> None:
        """Ends writing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _path(self, shard: int) -> Path:
        return self.folder / shard_name(shard)

    def _unpack(self, shard: int, clip: Wanted) -> None:
        target = self.part(clip)
        if target.exists():
            return
        stored = _header(self._path(shard))[clip.name]
        with disk_full(target), replacing(target) as temporary, temporary.open("wb") as file:
            head = {"descr": np.dtype(stored.dtype).str, "fortran_order": False, "shape": stored.shape}
            np.lib.format.write_array_header_1_0(file, head)
            _copy(stored, file)

    def _write(self, shard: int, clips: Mapping[str, _Stored], content: dict[str, str]) -> None:
        target = self._path(shard)
        # The widest type first, so that all numbers lie at multiples of their size.
        ordered = sorted(clips.items(), key=lambda item: -np.dtype(item[1].dtype).itemsize)
        head: dict[str, object] = {}
        end = 0
        for name, stored in ordered:
            begin, end = end, end + stored.size
            head[name] = {"dtype": _TYPES[stored.dtype], "shape": stored.shape, "data_offsets": [begin, end]}
        text = json.dumps(head, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with disk_full(target), replacing(target) as temporary, temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, stored in ordered:
                _copy(stored, file)
            file.flush()
            # Before the file takes its name: so there is a line for whichever file a kill leaves.
            self._note(shard, _stamp(temporary), content)

    def _note(self, shard: int, stamp: str, content: dict[str, str]) -> None:
        if self._file is None:
            self._file = (self.folder / _JOURNAL).open("a", encoding="utf-8")
        # The line break comes first, so that a line torn by a kill spoils no other.
        self._file.write("\n" + json.dumps({"shard": shard, "stamp": stamp, "made": content}))
        self._file.flush()


def shard_name(shard: int) -> str:
    """The file name of a shard."""
    return f"{shard:05d}.safetensors"


def key_names(ids: Sequence[str]) -> list[str]:
    """A safe name for every id; no two alike, even where upper and lower case are the same."""
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".")[:80] for name in ids]
    seen: dict[str, int] = {}
    for name in plain:
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
    # "~" is in no plain name, so a name with a hash meets no other.
    return [
        safe if safe == name and seen[safe.casefold()] == 1 else f"{safe}~{_digest(name)[:16]}"
        for name, safe in zip(ids, plain, strict=True)
    ]


def made_from(version: str, *others: object) -> str:
    """A hash of the source's version, and of whatever else decides the features; empty if there is no version."""
    return version and _digest(json.dumps([version, *others], sort_keys=True, default=str))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _journal(path: Path, folder: Path) -> dict[int, dict[str, str]]:
    """What each shard holds, of those that are as a line of the journal says."""
    found: dict[int, dict[str, str]] = {}
    stamps: dict[int, str] = {}
    for line in _lines(path):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # empty, or torn by a kill
        shard = entry["shard"]
        if shard not in stamps:
            stamps[shard] = _stamp(folder / shard_name(shard))
        if entry["stamp"] == stamps[shard]:
            found[shard] = entry["made"]
    return found


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from file


def _header(path: Path) -> dict[str, _Stored]:
    """Where each clip of a shard lies."""
    types = {short: long for long, short in _TYPES.items()}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(length))
    return {
        name: _Stored(path, 8 + length + entry["data_offsets"][0], types[entry["dtype"]], tuple(entry["shape"]))
        for name, entry in head.items()
    }


def _npy(path: Path) -> _Stored:
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return _Stored(path, file.tell(), dtype.name, shape)


def _copy(stored: _Stored, target: IO[bytes]) -> None:
    with stored.path.open("rb", buffering=0) as file:
        file.seek(stored.begin)
        left = stored.size
        if hasattr(os, "copy_file_range"):  # Linux: the bytes do not pass through this process
            target.flush()
            while left:
                count = os.copy_file_range(file.fileno(), target.fileno(), left)
                assert count, f"{stored.path} ends {left} bytes early"
                left -= count
            target.seek(0, os.SEEK_END)
        block = memoryview(bytearray(_BLOCK if left else 0))
        while left:
            count = file.readinto(block[: min(left, _BLOCK)])
            assert count, f"{stored.path} ends {left} bytes early"
            target.write(block[:count])
            left -= count
