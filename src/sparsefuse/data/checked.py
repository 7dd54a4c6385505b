"""What was read of feature files once, beside the manifest: files that have not changed since are not read again."""

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from sparsefuse.data.stats import Stats
from sparsefuse.files.references import split_ref
from sparsefuse.files.whole import replacing
from sparsefuse.shown import said

log = logging.getLogger(__name__)

VERSION = 1
"""changes with what is checked of a file, or with how it is hashed"""
SETTLED = 2 * 10**9
"""nanoseconds since a file's last change: a second change within a clock's tick could not be told from it"""
MOST_STATS = 64
"""training splits whose statistics are kept"""


class Shape(NamedTuple):
    """Of one array."""

    length: int
    width: int
    hash: str = ""
    """of its contents, see `contents.hash_of`"""


Stamp = list[int]
"""of a file: bytes, and nanoseconds of its last change and of that of its inode"""


class Checked:
    """Shapes by reference, and statistics by what they were measured on, as earlier runs found them."""

    def __init__(self, manifest: Path) -> None:
        self.path, self._root = manifest.with_name(f".{manifest.name}.checked.json"), manifest.parent
        self._files: dict[str, tuple[Stamp, dict[str, Shape]]] = {}
        """file -> its stamp, and its arrays by reference"""
        self._stats: dict[str, dict[str, dict[str, list[float]]]] = {}
        self._places: dict[str, str] = {}
        """reference -> file"""
        self._stamps: dict[str, Stamp | None] = {}
        self._is_new = False
        if self.path.is_file():
            try:
                self._files, self._stats = _read(self.path)
            except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
                log.info("%s is ignored (%s), so all files are read again", self.path, said(error))

    def shape(self, ref: str) -> Shape | None:
        """The array's, if its file is as it was."""
        stamp, shapes = self._files.get(file := self._file(ref), (None, {}))
        return shapes.get(ref) if stamp is not None and stamp == self._stamp(file) else None

    def add(self, ref: str, shape: Shape) -> None:
        """Keeps what was read, unless the file has changed so lately that it might again, unnoticed."""
        stamp = self._stamp(file := self._file(ref))
        if stamp is None or time.time_ns() - max(stamp[1:]) < SETTLED:
            return
        if self._files.get(file, (None,))[0] != stamp:
            self._files[file] = stamp, {}
        self._files[file][1][ref] = shape
        self._is_new = True

    def stats(self, split: Iterable[tuple[str, str]], rule: str, measure: Callable[[], Stats]) -> Stats:
        """The statistics of the arrays, (modality, reference) each in this order, under a rule that changes them."""
        digest, settled = hashlib.sha256(f"{VERSION} {rule}".encode()), True
        for name, ref in split:
            settled &= self.shape(ref) is not None
            digest.update(f"\n{name}\0{ref}\0{self._stamp(self._file(ref))}".encode())
        found = self._stats.get(key := digest.hexdigest())
        if settled and found:
            return Stats(*({n: torch.tensor(x) for n, x in found[kind].items()} for kind in ("mean", "std")))
        stats = measure()
        if settled:
            kept = [*self._stats.items()][1 - MOST_STATS :]
            plain = {kind: {n: x.tolist() for n, x in of.items()} for kind, of in stats._asdict().items()}
            self._stats, self._is_new = {**dict(kept), key: plain}, True
        return stats

    def save(self) -> None:
        """Writes what is new; where the folder cannot be written, the next run reads all files again."""
        if not self._is_new:
            return
        files = {file: [stamp, shapes] for file, (stamp, shapes) in self._files.items()}
        try:
            with replacing(self.path, durable=False) as temporary:
                text = json.dumps({"version": VERSION, "files": files, "stats": self._stats}, separators=(",", ":"))
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            log.info("%s cannot be written (%s): the next run reads all files again", self.path, said(error))

    def _file(self, ref: str) -> str:
        if ref not in self._places:
            whole = "#" not in ref or os.path.isfile(os.path.join(self._root, ref))
            self._places[ref] = ref if whole else sys.intern(split_ref(ref)[0])
        return self._places[ref]

    def _stamp(self, file: str) -> Stamp | None:
        """Looked at once, before the first reading: a change during it is seen by the next run."""
        if file not in self._stamps:
            try:
                status = os.stat(self._root / file)
                self._stamps[file] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            except (OSError, ValueError):  # reading says why
                self._stamps[file] = None
        return self._stamps[file]


def _read(path: Path) -> tuple[dict[str, tuple[Stamp, dict[str, Shape]]], dict[str, dict[str, dict[str, list[float]]]]]:
    found = json.loads(path.read_bytes())
    if found["version"] != VERSION:
        raise ValueError(f"version {found['version']!r:.20}, expected {VERSION}")
    files = {file: ([*map(int, stamp)], _shapes(arrays)) for file, (stamp, arrays) in found["files"].items()}
    for stats in found["stats"].values():
        mean, std = stats["mean"], stats["std"]
        values = [torch.tensor(x) for kind in (mean, std) for x in kind.values()]
        widths = [{n: len(x) for n, x in kind.items()} for kind in (mean, std)]
        if widths[0] != widths[1] or not all(x.isfinite().all() for x in values) or min(map(min, std.values())) <= 0:
            raise ValueError("statistics that cannot be")
    return files, found["stats"]


def _shapes(arrays: Mapping[str, tuple[int, int, str]]) -> dict[str, Shape]:
    shapes = {ref: Shape(*each) for ref, each in arrays.items()}
    for length, width, digest in shapes.values():
        if type(length) is not int or type(width) is not int or min(length, width) < 1 or type(digest) is not str:
            raise ValueError("a shape that cannot be")
    return shapes
