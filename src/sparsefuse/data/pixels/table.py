"""The manifest of a task on pixels: a row per sample, columns of pictures for the streams, and one of targets."""

import logging
from collections.abc import Sequence
from pathlib import Path

from sparsefuse.config import Data, Split
from sparsefuse.data.labelled import USUAL
from sparsefuse.data.manifest import JOIN, Manifest, Row, label_columns, read_manifest
from sparsefuse.data.pixels.read import PICTURES
from sparsefuse.data.split import split_rows
from sparsefuse.files.allowed import check_named
from sparsefuse.files.rows import Table, numbered, read_table

log = logging.getLogger(__name__)

TARGETS = ("label", "target")
"""columns that are never streams unless data.modalities says so"""


def read_rows(data: Data, root: Path) -> Manifest:
    """The manifest; a row's label is the file of its label or target picture, its modalities are the streams.

    Without data.modalities every column of pictures is a stream. In translation the target is in the column `target` if
    data.label is not set and there is no column `label`. Raises FileNotFoundError or ValueError.
    """
    path = root / data.manifest
    table = numbered(read_table(path))
    label = _label(path, table, data)
    streams = data.modalities or _streams(path, table, [label, data.group])
    manifest = read_manifest(path, label=label, modalities=streams, group=data.group)
    check_named(path, ((row.id, label, row.label) for row in manifest.rows if row.label))
    return manifest


def split_pictures(manifest: Manifest, split: Split) -> dict[str, list[Row]]:
    """Rows by split; label pictures have no classes to keep in proportion, so a stratified split is drawn at random."""
    blank = manifest._replace(rows=[row._replace(label="") for row in manifest.rows])
    rows = {row.id: row for row in manifest.rows}
    return {name: [rows[row.id] for row in part] for name, part in split_rows(blank, split, "class").items()}


def _label(path: Path, table: Table, data: Data) -> str:
    name = data.label
    if data.task == "translate" and name == "label" and name not in table.columns and "target" in table.columns:
        name = "target"
    if name not in table.columns and JOIN in name:
        raise ValueError(
            f"{path}: data.label is {name}, which joins columns, but {data.task} takes one column of pictures"
        )
    return label_columns(path, table, None if name == USUAL else name)[0]


def _streams(path: Path, table: Table, no_streams: Sequence[str]) -> Sequence[str]:
    others = [name for name in table.columns if name not in (*no_streams, *TARGETS)]
    streams = [name for name in others if table.holds(name, PICTURES)]
    if not streams:
        raise ValueError(
            f"{path}: no column holds pictures, so there is no stream; columns: {', '.join(table.columns):.300}; "
            f"expected cells such as rgb/0001.png ({', '.join(sorted(PICTURES))})"
        )
    if ignored := [name for name in others if name not in (*streams, "id", "split", "group")]:
        log.info("%s: columns that hold no pictures are not used: %s", path, ", ".join(ignored)[:300])
    return streams
