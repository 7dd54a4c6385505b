"""The manifest: a CSV or JSONL table in, one `Row` per sample out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.names import unknown
from sparsefuse.refs import FEATURES, FILES
from sparsefuse.table import Table, check_ids, read_table

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


def read_manifest(path: str | Path, *, label: str | None = "label", modalities: Sequence[str] = ()) -> Manifest:
    """Reads a manifest; `label=None` reads no labels. Without `modalities`, the columns of files are the modalities.

    Raises FileNotFoundError, or ValueError for a table that cannot be a manifest (with line and nearest match).
    """
    path = Path(path)
    table = read_table(path)
    check_ids(path, table)
    if label is not None and label not in table.columns:
        raise ValueError(f"{path}: no label column: {unknown('column', label, table.columns)}; set data.label")
    used = _chosen(path, table, label, modalities) if modalities else _guessed(path, table, label)
    rows = [_row(path, line, cells, label, used) for line, cells in zip(table.lines, table.rows, strict=True)]
    return Manifest(path, rows, tuple(used))


def _chosen(path: Path, table: Table, label: str | None, modalities: Sequence[str]) -> list[str]:
    available = [name for name in table.columns if name not in ("id", "split", "group", label or "label")]
    for name in modalities:
        if name not in available:
            raise ValueError(f"{path}: {unknown('modality', name, available)}; modalities are columns of the manifest")
    return sorted(set(modalities))


def _guessed(path: Path, table: Table, label: str | None) -> list[str]:
    found = [name for name in table.columns if name != label and table.holds(name, FILES)]
    if not found:
        raise ValueError(
            f"{path}: no column holds files, so there is no modality; columns: {', '.join(table.columns)}; "
            f"expected cells such as rgb/00412.npy ({', '.join(sorted(FEATURES))})"
        )
    return sorted(found)


def _row(path: Path, line: int, cells: dict[str, str], label: str | None, modalities: Sequence[str]) -> Row:
    split = cells.get("split", "").lower()
    split = "valid" if split == "val" else split
    if split and split not in SPLITS:
        raise ValueError(f"{path}, line {line}: {unknown('split', split, SPLITS)}")
    files = {name: cells[name] for name in modalities if cells[name]}
    return Row(cells["id"], files, cells[label] if label else "", split, cells.get("group", ""))
