"""The manifest: a CSV or JSONL table in, one `Row` per sample out."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.data.arrays import FEATURES, MEDIA, REFUSED, split_ref
from sparsefuse.files import write_text
from sparsefuse.names import unknown

SPLITS = ("train", "valid", "test")


class Row(NamedTuple):
    """One sample of the manifest."""

    id: str
    files: dict[str, str]
    """modality -> `file` or `file#key`, relative to the manifest's folder; a modality the sample lacks is absent"""
    label: str
    """as written: one class, several separated by |, or a number; empty when it is missing"""
    split: str = ""
    """train, valid, test, or empty"""
    group: str = ""
    """what must not be in two splits: a speaker, a source video; or empty"""


class Manifest(NamedTuple):
    """A manifest as read: its samples, and the modalities that at least one column offers, sorted."""

    path: Path
    rows: list[Row]
    modalities: tuple[str, ...]

    @property
    def root(self) -> Path:
        """The folder that the rows' files are relative to."""
        return self.path.parent


class Table(NamedTuple):
    """All cells of a manifest as text, with the line each row stands on, for error messages."""

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]


def read_manifest(path: str | Path, *, label: str | None = "label", modalities: Sequence[str] = ()) -> Manifest:
    """Reads a manifest; `label=None` reads no labels. Without `modalities`, the columns of files are the modalities.

    Raises FileNotFoundError, or ValueError for a table that cannot be a manifest (with line and nearest match).
    """
    path = Path(path)
    table = read_table(path)
    if "id" not in table.columns:
        raise ValueError(f"{path}: no 'id' column; {unknown('column', 'id', table.columns)}")
    if label is not None and label not in table.columns:
        raise ValueError(f"{path}: no label column: {unknown('column', label, table.columns)}; set data.label")
    if not table.rows:
        raise ValueError(f"{path}: no rows, only a header; expected one row per sample")
    reserved = {"id", "split", "group", label or "label"}
    used = _chosen(path, table, reserved, modalities) if modalities else _guessed(path, table, reserved)
    _check_ids(path, table)
    rows = [_row(path, line, cells, label, used) for line, cells in zip(table.lines, table.rows, strict=True)]
    return Manifest(path, rows, tuple(used))


def read_table(path: str | Path) -> Table:
    """Reads every column of a CSV (with a header) or JSONL file as text; lists in JSONL are joined with |."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path} not found{_neighbour(path)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); expected a CSV or JSONL manifest") from error
    if not text.strip():
        raise ValueError(f"{path}: the manifest is empty; expected a header with id, label and one column per modality")
    return _read_jsonl(path, text) if path.suffix.lower() in (".jsonl", ".ndjson") else _read_csv(path, text)


def write_manifest(path: str | Path, rows: Sequence[dict[str, str]]) -> Path:
    """Writes rows (all with the first one's columns) as CSV, whole; returns the path."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())
    return Path(path)


def _read_csv(path: Path, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""))
    columns = [name.strip() for name in next(reader)]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: column {twice[0]!r} stands twice in the header")
    rows, lines = [], []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise ValueError(
                f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(columns)}; "
                "put cells that hold a comma in double quotes"
            )
        rows.append({name: cell.strip() for name, cell in zip(columns, cells, strict=True)})
        lines.append(reader.line_num)
    return Table(columns, rows, lines)


def _read_jsonl(path: Path, text: str) -> Table:
    columns: dict[str, None] = {}
    rows, lines = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}); expected one object a line") from error
        if not isinstance(value, dict):
            raise ValueError(f"{path}, line {number}: got {type(value).__name__}, expected an object of columns")
        rows.append({name: _text(cell) for name, cell in value.items()})
        lines.append(number)
        columns.update(dict.fromkeys(value))
    return Table(list(columns), [{name: row.get(name, "") for name in columns} for row in rows], lines)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return "|".join(map(str, cell)) if isinstance(cell, list) else str(cell).strip()


def _chosen(path: Path, table: Table, reserved: set[str], modalities: Sequence[str]) -> list[str]:
    available = [name for name in table.columns if name not in reserved]
    for name in modalities:
        if name not in available:
            raise ValueError(f"{path}: {unknown('modality', name, available)}; modalities are columns of the manifest")
    return sorted(set(modalities))


def _guessed(path: Path, table: Table, reserved: set[str]) -> list[str]:
    found = [name for name in table.columns if name not in reserved and _holds_files(table, name)]
    if not found:
        raise ValueError(
            f"{path}: no column holds files, so there is no modality; columns: {', '.join(table.columns)}; "
            f"expected cells such as rgb/00412.npy ({', '.join(sorted(FEATURES))})"
        )
    return sorted(found)


def _holds_files(table: Table, column: str) -> bool:
    """Most cells decide: one cell that says `n/a` must not make a modality vanish."""
    cells = [row[column] for row in table.rows if row[column]]
    files = sum(Path(split_ref(cell)[0]).suffix.lower() in FEATURES | MEDIA | REFUSED for cell in cells)
    return 2 * files > len(cells)


def _check_ids(path: Path, table: Table) -> None:
    seen: dict[str, int] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        if not row["id"]:
            raise ValueError(f"{path}, line {line}: the id is empty")
        if row["id"] in seen:
            raise ValueError(f"{path}: id {row['id']!r} stands on lines {seen[row['id']]} and {line}; ids are unique")
        seen[row["id"]] = line


def _row(path: Path, line: int, cells: dict[str, str], label: str | None, modalities: Sequence[str]) -> Row:
    split = cells.get("split", "").lower()
    split = "valid" if split == "val" else split
    if split and split not in SPLITS:
        raise ValueError(f"{path}, line {line}: {unknown('split', split, SPLITS)}")
    files = {name: cells[name] for name in modalities if cells[name]}
    return Row(cells["id"], files, cells[label] if label else "", split, cells.get("group", ""))


def _neighbour(path: Path) -> str:
    """A hint at what the folder does hold."""
    if not path.parent.is_dir():
        return f"; the folder {path.parent} does not exist either"
    near = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in (".csv", ".jsonl", ".ndjson"))
    return f"; {path.parent} holds {', '.join(near[:5])}" if near else f"; {path.parent} holds no CSV or JSONL file"
