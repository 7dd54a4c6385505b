"""Reads a manifest, a CSV or JSONL table with a row per sample."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from sparsefuse.data.labelled import USUAL, only_label
from sparsefuse.errors import unknown
from sparsefuse.files.allowed import check_named
from sparsefuse.files.references import FEATURES, FILES
from sparsefuse.files.rows import BLANK, Table, check_ids, numbered, read_table

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
_SPLIT_WORDS = {
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "training": "train",
    "learn": "train",
    "testing": "test",
}
GROUP = "group"
"""the usual name of the column of what must not be in two splits"""
MODALITIES = 256
"""more columns of files are not taken for modalities"""
JOIN = "+"
"""separates the columns of data.label, and their labels"""
_FLAGS = {"data.label": "--data.label", "label": "label="}
"""where a name of the label column is given -> how it is typed"""


class Row(NamedTuple):
    """One sample of the manifest."""

    id: str
    files: dict[str, str]
    """modality -> `file` or `file#key`, relative to the manifest's folder; a modality the sample lacks is absent"""
    label: str
    """as written: one class, several separated by |, a number, or those of several columns joined by +; empty when it
    is missing"""
    split: str = ""
    """train, valid, test, or empty"""
    group: str = ""
    """what must not be in two splits: a speaker, a source video; or empty"""


class Manifest(NamedTuple):
    """A manifest as read: its samples, and the modalities that at least one column offers, sorted."""

    path: Path
    rows: list[Row]
    modalities: tuple[str, ...]
    labels: tuple[str, ...] = ("label",)
    """the columns that its rows' labels were joined of"""
    group: str = ""
    """the column of its rows' groups, if there is one"""

    @property
    def root(self) -> Path:
        """The folder that the rows' files are relative to."""
        return self.path.parent


def read_manifest(
    path: str | Path,
    *,
    label: str | None = "label",
    separator: str = "|",
    modalities: Sequence[str] = (),
    group: str = GROUP,
) -> Manifest:
    """Reads a manifest; `label=None` reads no labels, `verb+noun` joins those of two columns. Several classes stand
    between `separator`. Without `modalities`, the columns of files are the modalities. `group` is the column of what
    must not be in two splits, which may be absent only under its usual name.

    Raises FileNotFoundError, or ValueError for a table that cannot be a manifest (with line and nearest match).
    """
    path = Path(path)
    table = numbered(read_table(path))
    check_ids(path, table)
    group = group_column(path, table, group, modalities)
    named = None if label == USUAL else label
    labels = label_columns(path, table, named, others=[*modalities, group]) if label is not None else []
    if group in labels:
        raise ValueError(f"{path}: column {group!r} is both data.label and data.group; they must be two columns")
    others = [*(labels or ["label"]), group]
    used = _chosen(path, table, others, modalities) if modalities else _guessed(path, table, others)
    if separator != "|":
        _separated(path, table, labels, separator)
    _blank(path, table, labels)
    rows = []
    for place, line in enumerate(table.lines):
        rows.append(_row(path, line, table.rows[place], labels, used, group))
        table.rows[place] = {}  # millions of rows and their samples take too much beside each other
    check_named(path, ((row.id, *cell) for row in rows for cell in row.files.items()))
    return Manifest(path, rows, tuple(used), tuple(labels), group)


def label_columns(
    path: Path, table: Table, label: str | None, option: str = "data.label", others: Collection[str] = ()
) -> list[str]:
    """One column, or several joined by +, in any case; a column may have + in its own name. If nobody named one (None),
    `label`, or else the only one that may hold labels (see `only_label`), which none of the `others` does.

    Raises ValueError for a name that is not there; `option` is where the caller was given it.
    """
    if label is None and not any(column.lower() == USUAL for column in table.columns):
        left = [name for name in table.columns if not (name in others or table.holds(name, FILES))]
        columns = {name: [row[name] for row in table.rows] for name in left if not table.is_text(name)}
        label = only_label(columns, f"{path}: ", _FLAGS.get(option, option))
    label = label or USUAL
    names = [label] if label in table.columns else [name.strip() for name in label.split(JOIN)]
    written = {column.lower(): column for column in table.columns}
    names = [name if name in table.columns else written.get(name.lower(), name) for name in names]
    for name in names:
        if name not in table.columns:
            raise ValueError(f"{path}: no label column: {unknown('column', name, table.columns)}; name it in {option}")
        if names.count(name) > 1:
            raise ValueError(f"{path}: {option} is {label}, which names column {name!r} twice")
        if len(names) > 1 and ":" in name:
            raise ValueError(f"{path}: label column {name!r:.60}: a colon separates a head from its classes; rename it")
    return names


def group_column(
    path: Path, table: Table, group: str, streams: Collection[str] = (), option: str = "data.group"
) -> str:
    """The column, in any case; empty if it is the usual one and not there.

    Raises ValueError for another one that is absent, or one that holds files: `option` is where the caller was given
    its name."""
    written = {column.lower(): column for column in table.columns}
    name = group if group in table.columns else written.get(group.lower(), "")
    if not name and group != GROUP:
        raise ValueError(f"{path}: {option}: {unknown('column', group, table.columns)}")
    if name and (name in streams or table.holds(name, FILES)):
        raise ValueError(f"{path}: {option} is {name}, a column of files; rename it {GROUP!r}, which is never one")
    return name


def _chosen(path: Path, table: Table, others: Sequence[str], modalities: Sequence[str]) -> list[str]:
    available = [name for name in table.columns if name not in ("id", "split", GROUP, *others)]
    for name in modalities:
        if name not in available:
            raise ValueError(f"{path}: {unknown('modality', name, available)}; modalities are columns of the manifest")
    return sorted(set(modalities))


def _guessed(path: Path, table: Table, others: Sequence[str]) -> list[str]:
    names = [name for name in table.columns if name not in others and table.holds(name, FILES)]
    if not names and (text := next(filter(table.is_text, table.columns), None)):
        raise ValueError(
            f"{path}: column {text!r} holds sentences, not features; `sparsefuse extract` makes features of them, and "
            "`sparsefuse fit` a model"
        )
    if not names:
        raise ValueError(
            f"{path}: no column holds files, so there is no modality; columns: {', '.join(table.columns):.300}; "
            f"expected cells such as rgb/00412.npy ({', '.join(sorted(FEATURES))})"
        )
    if len(names) > MODALITIES:
        raise ValueError(f"{path}: {len(names):,} columns hold files; name the modalities in data.modalities")
    return sorted(names)


def _separated(path: Path, table: Table, labels: Sequence[str], separator: str) -> None:
    """Writes `a, b`, or `['a', 'b']`, as a|b."""
    if len(labels) > 1:
        raise ValueError(f"{path}: data.separator is for several classes of one column, data.label names {len(labels)}")
    for row in table.rows:
        for name in labels:
            row[name] = "|".join(part.strip(" '\"") for part in row[name].strip("[](){}").split(separator))


def _blank(path: Path, table: Table, labels: Sequence[str]) -> None:
    """Empties labels such as `nan`, also among several, and says how many."""
    words: Counter[str] = Counter()
    for row in table.rows:
        for name in labels:
            parts = row[name].split("|")
            blank = [part for part in parts if part and part.strip().lower() in BLANK]
            if blank:
                words.update(blank)
                row[name] = "|".join(part for part in parts if part not in blank)
    if words:
        found = ", ".join(f"{word!r:.60} ({count})" for word, count in words.most_common(10))
        log.warning("%s: labels that say %s are read as empty; if that is a class, rename it", path, found)


def _row(
    path: Path, line: int, cells: dict[str, str], labels: Sequence[str], modalities: Sequence[str], group: str
) -> Row:
    split = cells.get("split", "").lower()
    split = _SPLIT_WORDS.get(split, split)
    if split and split not in SPLITS:
        raise ValueError(f"{path}, line {line}: {unknown('split', split, SPLITS)}")
    for name in labels:
        if len(labels) > 1 and JOIN in cells[name]:
            raise ValueError(f"{path}, line {line}: {name} is {cells[name]!r:.60}; {JOIN} separates labels; rename it")
    named = [cells[name] for name in labels]
    files = {name: cells[name] for name in modalities if cells[name]}
    together = cells.get(group, "")
    together = "" if together.lower() in BLANK else together
    return Row(cells["id"], files, JOIN.join(named) if any(named) else "", split, together)
