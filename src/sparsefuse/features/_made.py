"""Which feature files of a folder are made, and from what: a journal that survives a kill at any moment."""

import hashlib
import json
import re
from pathlib import Path
from typing import IO

from sparsefuse.features._clip import Clip

_NAME = ".made.jsonl"


class Made:
    """The journal of one folder of feature files; one JSON object a line, the last one on a file counts."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(".*.npy"):  # of a run that was killed while writing
            left_over.unlink()
        self._path = folder / _NAME
        self._entries = _entries(self._path)
        self._file: IO[str] | None = None

    def has(self, clip: Clip) -> bool:
        """Whether the clip's feature file is there, unchanged, and made from this very source in this very way."""
        return bool(clip.key) and clip.key + _stamp(clip.target) == self._entries.get(clip.target.name)

    def add(self, clip: Clip) -> None:
        """Notes that the clip's feature file was just made."""
        if self._file is None:
            self._file = self._path.open("a", encoding="utf-8")
        # The line break comes first, so that a line torn by a kill spoils no other.
        self._file.write("\n" + json.dumps({"file": clip.target.name, "made": clip.key + _stamp(clip.target)}))
        self._file.flush()

    def close(self) -> None:
        """Ends writing."""
        if self._file is not None:
            self._file.close()


def file_names(ids: list[str]) -> dict[str, str]:
    """A safe file name for every id, without suffix; no two alike, even where upper and lower case are the same."""
    plain = {name: re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".")[:80] for name in ids}
    seen: dict[str, int] = {}
    for name in plain.values():
        seen[name.casefold()] = seen.get(name.casefold(), 0) + 1
    # "~" is in no plain name, so a name with a hash meets no other.
    return {
        name: safe if safe == name and seen[safe.casefold()] == 1 else f"{safe}~{_digest(name)[:16]}"
        for name, safe in plain.items()
    }


def key_of(source: Path, *made_by: object) -> str:
    """A hash of the source's path, size and time of change, and of whatever else decides the features."""
    if not source.is_file():
        return ""
    return _digest(json.dumps([str(source), _stamp(source), *made_by], sort_keys=True, default=str))


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "missing"
    return f":{status.st_size}:{status.st_mtime_ns}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _entries(path: Path) -> dict[str, str]:
    entries: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # empty, or torn by a kill: its file is made again
        entries[entry["file"]] = entry["made"]
    return entries
