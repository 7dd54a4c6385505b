"""A manifest of media files comes in, its rows come out as text cells; a new manifest is written the same way."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.files import replacing

_NEVER_FILES = ("id", "label", "split", "group")  # a group is often the name of the video a clip was cut from
_FEATURES = re.compile(r"\.(npy|npz|mat|csv|h5|hdf5|safetensors)(#.*)?$", re.IGNORECASE)
_MEDIA = re.compile(
    r"\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|flv|wmv|3gp|gif|png|jpe?g|bmp|webp"
    r"|wav|mp3|ogg|oga|opus|flac|m4a|aac|wma|aiff?|txt|srt|vtt)$",
    re.IGNORECASE,
)


class Manifest(NamedTuple):
    """The rows of a manifest, every cell as text; an absent cell is the empty text."""

    columns: list[str]
    rows: list[dict[str, str]]

    def holds_features(self, column: str) -> bool:
        """Whether most cells of the column that are not empty name a feature file, `file` or `file#key`."""
        return self._most(column, _FEATURES)

    def holds_media(self, column: str) -> bool:
        """Whether most cells of the column that are not empty name a media file."""
        return self._most(column, _MEDIA)

    def _most(self, column: str, pattern: re.Pattern[str]) -> bool:
        if column in _NEVER_FILES:
            return False
        cells = [row[column] for row in self.rows if row[column]]
        return 2 * sum(bool(pattern.search(cell)) for cell in cells) > len(cells)


def read_rows(path: Path) -> Manifest:
    """Reads CSV or JSONL. Raises ValueError, with the line, for a row that is broken, lacks an id, or repeats one."""
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path}: there is no such file")
    numbered = _read_jsonl(path) if path.suffix in (".jsonl", ".ndjson") else _read_csv(path)
    if not numbered:
        raise ValueError(f"manifest {path}: has no rows")
    columns = list(dict.fromkeys(column for _, row in numbered for column in row))
    if "id" not in columns:
        raise ValueError(f"manifest {path}: has no column 'id'; its columns: {', '.join(columns)}")
    seen: dict[str, int] = {}
    for line, row in numbered:
        name = row.get("id", "")
        if not name:
            raise ValueError(f"manifest {path}, line {line}: the id is empty")
        if name in seen:
            raise ValueError(f"manifest {path}: id {name!r} is on lines {seen[name]} and {line}; ids must be unique")
        seen[name] = line
    return Manifest(columns, [{column: row.get(column, "") for column in columns} for _, row in numbered])


def write_rows(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Writes CSV, whole."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def moved(cell: str, old: Path, new: Path) -> str:
    """A path relative to the folder `old`, with its `#key` if it has one, as a path relative to the folder `new`."""
    if not _FEATURES.search(cell) or os.path.isabs(cell):
        return cell  # a cell such as `n/a` is no path
    return Path(os.path.relpath(old.resolve() / cell, new.resolve())).as_posix()


def _read_csv(path: Path) -> list[tuple[int, dict[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte-order mark
        reader = csv.DictReader(file, restkey="", restval="")
        header = reader.fieldnames or []
        if len(set(header)) < len(header) or "" in header:
            raise ValueError(f"manifest {path}: column names must be unique and not empty; got {', '.join(header)}")
        rows = []
        for row in reader:
            if "" in row:
                line = reader.line_num
                raise ValueError(f"manifest {path}, line {line}: has more cells than the header's {len(header)}")
            rows.append((reader.line_num, {column: cell.strip() for column, cell in row.items()}))
    return rows


def _read_jsonl(path: Path) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"manifest {path}, line {number}: is not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"manifest {path}, line {number}: expected an object {{...}}, got {line[:40]}")
        rows.append((number, {str(column): _text(value) for column, value in row.items()}))
    return rows


def _text(value: Any) -> str:
    """A JSON value as a CSV cell; a list of labels becomes `a|b`."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
