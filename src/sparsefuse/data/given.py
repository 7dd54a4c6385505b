"""Clips as a caller of `Classifier` gives them, in any of its forms: columns with their labels, or a manifest, out."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sparsefuse.data.columns import Columns, Streams, axes_of, columns_of, is_stream
from sparsefuse.data.formats import folders
from sparsefuse.data.labelled import USUAL, only_label
from sparsefuse.data.targets import targets_of
from sparsefuse.errors import lacking, near_file, unknown
from sparsefuse.files.references import FILES, TABLES, suffix
from sparsefuse.shown import counted

PATHS = "a manifest (CSV or JSONL), or a folder with a folder of clips per class"
"""what a path of data names"""


def gathered(
    given: Any, y: Any, names: list[str] | None, valid: Any, others: Collection[str] = ()
) -> tuple[Columns, dict[str, list[Any]]]:
    """All clips and all labels; with clips for validation, these too, and a column `split`. `others` are columns that
    hold no labels."""
    columns, labels = labelled(given, y, names, others)
    if is_share(valid):
        return columns, labels
    theirs, answers = valid if isinstance(valid, tuple) else (valid, None)
    try:
        more, their = labelled(theirs, answers, list(labels), hint="; give clips like those of X, or (X, y)")
    except ValueError as error:
        raise ValueError(f"valid: {error}") from error
    for part, other in ((columns, more), (labels, their)):
        for name in part:
            if name not in other:
                raise ValueError(f"valid: {lacking(name, 'X has', other, part)}")
            part[name] = [*part[name], *other[name]]
    count = len(next(iter(their.values())))
    columns["split"] = ["train"] * (len(next(iter(columns.values()))) - count) + ["valid"] * count
    columns.pop("id", None)  # of two tables; a clip of each may have the same
    return columns, labels


def labelled(
    given: Any,
    y: Any,
    names: list[str] | None,
    others: Collection[str] = (),
    hint: str = "; name it by label=, or give y",
) -> tuple[Columns, dict[str, list[Any]]]:
    """The clips' columns without the labels, and the labels: `y`, or the columns of these names; of None the column
    `label`, or the only one that may be it. Raises ValueError, ending with the `hint`, for a name that is not there."""
    columns = columns_of(given)
    if y is None and axes_of(given):
        raise ValueError(
            "Classifier requires y to be passed, but the target y is None: arrays have no column of labels"
        )
    if y is None:
        names = [_found(columns, others)] if names is None else names
        return columns, {name: column_of(columns, name, hint) for name in names}
    labels, count = targets_of(y), len(next(iter(columns.values())))
    for name, column in labels.items():
        if len(column) != count:
            what = "y has" if len(labels) == 1 else f"column {name!r:.60} of y has"
            raise ValueError(
                f"X has {counted(count, 'clip')}, but {what} {counted(len(column), 'label')}; expected one label a "
                "clip (inconsistent lengths)"
            )
        columns.pop(name, None)
    return columns, labels


def _found(columns: Columns, others: Collection[str]) -> str:
    """The usual name, or without such a column that of the only one that may be the label."""
    if USUAL in columns:
        return USUAL
    left = {name: cells for name, cells in columns.items() if name not in others and not is_stream(cells)}
    return only_label(left, "", "label=") or USUAL


def manifest_of(given: str | Path, folder: Path) -> Path:
    """The manifest at a path: the file, that in the folder, or for a folder per class one that is written. Raises
    FileNotFoundError if there is nothing, or a run."""
    path = Path(given).absolute()
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file or folder {str(given)!r}{near_file(Path(given))}; expected {PATHS} (the current folder "
            f"is {Path.cwd()})"
        )
    if not path.is_dir():
        return path
    if (path / "model.json").is_file():
        raise FileNotFoundError(
            f"{given} is the folder of a run, not of clips; expected {PATHS}; Classifier.load({str(given)!r}) opens it"
        )
    inside = path / "manifest.csv"
    return inside if inside.is_file() else folders.prepare(path, folder)


def column_of(columns: Columns, name: str, hint: str = "") -> list[Any]:
    """A column. Raises ValueError, with the nearest name, if there is none."""
    if name not in columns:
        raise ValueError(f"{unknown('column', name, columns)}{hint}")
    return columns[name]


def is_share(valid: Any) -> bool:
    """Whether `valid` of `Classifier.fit` is a share, or not given, rather than clips."""
    return valid is None or isinstance(valid, int | float | np.number)


def is_file(given: Any) -> bool:
    """Whether it is the path of one clip's file, not of a manifest."""
    return isinstance(given, str | Path) and suffix(str(given)) in FILES - TABLES


def is_cell(value: Any) -> bool:
    """Whether it is a stream of one clip, rather than a column of such."""
    return isinstance(value, str | Path | float | int | np.number) or getattr(value, "ndim", 0) == 2


def digest_of(streams: Streams, marks: Mapping[str, Sequence[object]]) -> str:
    """Of all that a manifest of these holds: the same clips go to the same folder, and are not written again."""
    digest = hashlib.sha256(repr([list(marks.items()), streams.files, streams.texts]).encode())
    for name, arrays in streams.arrays.items():
        digest.update(repr([name, [None if x is None else x.shape for x in arrays]]).encode())
        for x in arrays:
            digest.update(b"" if x is None else x.tobytes())
    return digest.hexdigest()[:16]
