"""What `Classifier.fit` was given in; the manifest that is trained on, its labels and its streams out."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.data.columns import ROW, Columns, Streams, absent, columns_of, streams_of, write_manifest
from sparsefuse.data.given import column_of, digest_of, gathered, is_share, manifest_of
from sparsefuse.data.manifest import GROUP, JOIN, group_column, label_columns
from sparsefuse.data.targets import Targets
from sparsefuse.files.rows import read_table


class Examples(NamedTuple):
    """Clips with their labels."""

    manifest: Path
    targets: Targets
    streams: Streams


def of_memory(
    given: Any,
    y: Any,
    names: list[str] | None,
    valid: Any,
    group: str | None,
    *,
    folder: Path,
    wanted: Sequence[str],
) -> Examples:
    """Clips in memory; their manifest is written below `folder`. `wanted`: names of streams, if not all."""
    columns, labels = gathered(given, y, names, valid, [group] if group else [])
    if group is not None:
        columns["group"] = column_of(columns, group)
        for row, cell in enumerate(columns["group"]):
            if absent(cell):
                raise ValueError(f"{group!r:.60} of clip {row} is missing; say its group, or leave the clip out")
    targets = Targets(labels)
    streams = streams_among(columns, {*labels, group}, wanted)
    marks = {name: columns[name] for name in ROW if name in columns} | targets.texts
    return Examples(write_manifest(folder / digest_of(streams, marks), streams, marks), targets, streams)


def of_disk(
    given: str | Path,
    y: Any,
    names: list[str] | None,
    valid: Any,
    group: str | None,
    *,
    folder: Path,
    wanted: Sequence[str],
) -> Examples:
    """The manifest that is there, or of a folder with a folder per class, which is written below `folder`."""
    if y is not None or not is_share(valid):
        raise ValueError(
            f"{given}: labels and validation clips are columns of a manifest (label, split); y, and clips for "
            "valid, go with data in memory"
        )
    manifest = manifest_of(given, folder)
    table = read_table(manifest)
    apart = group_column(manifest, table, group or GROUP, wanted, "group")
    label = JOIN.join(names) if names else None
    names = label_columns(manifest, table, label, "label", [*wanted, apart])
    streams = streams_among(columns_of(manifest), {*names, apart}, wanted)
    return Examples(manifest, Targets({name: [] for name in names}), streams)


def streams_among(columns: Columns, others: Collection[str | None], wanted: Sequence[str]) -> Streams:
    """Those of columns that are not `others`, such as labels; only the `wanted` if there are any and columns."""
    columns = {name: cells for name, cells in columns.items() if name not in others}
    return streams_of(columns, wanted if set(wanted) <= columns.keys() else ())
