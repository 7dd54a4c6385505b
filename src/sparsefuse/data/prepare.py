"""One pass over all files before training: which rows are usable, and what was left out and why."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from sparsefuse.data.arrays import read_array
from sparsefuse.data.checked import Shape
from sparsefuse.data.contents import hash_of
from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import WHOLE, Lengths
from sparsefuse.data.manifest import Row
from sparsefuse.errors import unknown
from sparsefuse.files.references import MEDIA, suffix
from sparsefuse.files.skipped import Skip, Unusable, one_file
from sparsefuse.metrics import Task
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Prepared(NamedTuple):
    """The usable rows, and their labels and sizes."""

    rows: dict[str, list[Row]]
    """split -> usable rows; a row's `files` holds its usable modalities only"""
    labels: Labels
    features: dict[str, int]
    """modality -> F, sorted by name"""
    lengths: dict[str, list[int]]
    """split -> tokens of each row, summed over its modalities, as the model sees them"""
    hashes: dict[str, str]
    """reference -> hash of its contents (see `contents.hash_of`), of files that were opened"""
    skips: list[Skip]


class Cell(NamedTuple):
    """One file of the manifest."""

    split: str
    modality: str
    ref: str


Read = Callable[[Iterable[Cell], Path], Iterator[Shape | Unusable]]
"""The shape of every cell's file, or why it cannot be used; references are relative to the folder."""


def read_shapes(cells: Iterable[Cell], root: Path) -> Iterator[Shape | Unusable]:
    """Reads each feature file for its (N, F) and the hash of its contents."""
    for cell in cells:
        try:
            with one_file(cell.ref):
                values = read_array(cell.ref, root)
            yield Shape(values.shape[0], values.shape[1], hash_of(values))
        except Unusable as error:
            yield error


def prepare(
    rows: Mapping[str, Sequence[Row]],
    root: Path,
    *,
    modalities: Sequence[str],
    task: Literal[Task, "auto"] = "auto",
    columns: Sequence[str] = ("label",),
    lists: Mapping[str, Mapping[str, str]] | None = None,
    labels: Labels | None = None,
    features: Mapping[str, int] | None = None,
    fit: Lengths = WHOLE,
    strict: bool = False,
    read: Read = read_shapes,
    media: bool = False,
) -> Prepared:
    """Reads every file of every split once. A row loses an unusable modality; without any, or a label, it is dropped.

    For a trained model pass its `labels` and `features`, which rows are then checked against. Otherwise classes come
    from `lists` or the usable rows of `train` (`columns` are those of the labels), and the width is that of most of
    them. `strict` raises Unusable at the first loss. `read` replaces opening the files. With `media`, columns of media
    are kept.
    Raises ValueError if no training row is usable.
    """
    for name in fit.resample:
        if name not in modalities:
            raise ValueError(f"data.resample: {unknown('modality', name, modalities)}")
    names = sorted(name for name in modalities if features is None or name in features)
    if not media:
        names = _not_media(rows, names)
    losses = Losses(strict)
    shapes = _read_all(rows, root, names, losses, read)
    train = rows.get("train") or [row for part in rows.values() for row in part]
    widths = dict(features) if features else _widths(train, shapes, names, losses.skips)
    usable = {split: [_fitting(row, shapes[row.id], widths, losses) for row in part] for split, part in rows.items()}
    if labels is None:
        labelled = usable.get("train") or [row for part in usable.values() for row in part]
        texts = [row.label for row in labelled if row.files]
        labels = Labels.from_rows(texts, task, columns=columns, lists=lists or {})
    usable = {split: [row for row in part if _complete(row, labels, losses)] for split, part in usable.items()}
    if not (usable["train"] if "train" in usable and not features else any(usable.values())):
        raise ValueError(f"no usable {'' if features else 'training '}sample; {losses.first()}")

    def size(row: Row) -> int:
        return sum(fit.after(name, shapes[row.id][name].length) for name in row.files)

    lengths = {split: [size(row) for row in part] for split, part in usable.items()}
    hashes = {
        row.files[name]: shapes[row.id][name].hash for part in usable.values() for row in part for name in row.files
    }
    return Prepared(usable, labels, widths, lengths, hashes, losses.skips)


class Losses:
    """Collects skips; in strict mode the first one is raised."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.skips: list[Skip] = []

    def add(self, row: Row, modality: str, reason: str, trace: str = "") -> None:
        if self.strict:
            raise Unusable(f"sample {row.id}: {reason}")
        self.skips.append(Skip(row.id, modality, reason, trace))

    def first(self) -> str:
        if not self.skips:
            return "there are no rows"
        return f"{counted(len(self.skips), 'loss')}, the first is sample {self.skips[0].id}: {self.skips[0].reason}"


def _not_media(rows: Mapping[str, Sequence[Row]], modalities: Sequence[str]) -> list[str]:
    """Leaves out columns that hold media only, not features."""
    used = sorted(modalities)
    for name in used.copy():
        refs = [row.files[name] for part in rows.values() for row in part if name in row.files]
        if refs and all(suffix(ref) in MEDIA for ref in refs) and len(used) > 1:
            log.warning("column %r holds media, not features, and is left out; `sparsefuse extract` reads it", name)
            used.remove(name)
    return used


def _read_all(
    rows: Mapping[str, Sequence[Row]],
    root: Path,
    names: Sequence[str],
    losses: Losses,
    read: Read,
) -> dict[str, dict[str, Shape]]:
    """Row id -> modality -> shape, for the files that can be read."""
    shapes: dict[str, dict[str, Shape]] = {row.id: {} for part in rows.values() for row in part}
    used = [(split, row, name) for split, part in rows.items() for row in part for name in names if name in row.files]
    found = read((Cell(split, name, row.files[name]) for split, row, name in used), root)
    for (_, row, name), shape in zip(watched(used, "checking files"), found, strict=True):
        if isinstance(shape, Unusable):
            losses.add(row, name, str(shape), shape.trace)
        else:
            shapes[row.id][name] = shape
    return shapes


def _widths(
    train: Sequence[Row], shapes: dict[str, dict[str, Shape]], names: Sequence[str], skips: list[Skip]
) -> dict[str, int]:
    """The width most training rows have; between equals, the larger."""
    widths: dict[str, int] = {}
    for name in names:
        counts = Counter(shapes[row.id][name].width for row in train if name in shapes[row.id])
        if not counts:
            reason = next((skip.reason for skip in skips if skip.modality == name), "its column is empty")
            raise ValueError(
                f"no training row has a usable {name!r}: {reason}. Correct the files, or name the other modalities "
                "in data.modalities"
            )
        widths[name] = max(counts, key=lambda width: (counts[width], width))
    return widths


def _fitting(row: Row, shapes: dict[str, Shape], widths: dict[str, int], losses: Losses) -> Row:
    """The row with the modalities that could be read and have the right width."""
    files: dict[str, str] = {}
    for name, shape in shapes.items():
        if shape.width == widths[name]:
            files[name] = row.files[name]
        else:
            reason = f"{name} has {counted(shape.width, 'feature')}, the others have {widths[name]} ({row.files[name]})"
            losses.add(row, name, reason)
    return row._replace(files=files)


def _complete(row: Row, labels: Labels, losses: Losses) -> bool:
    if not row.files:
        losses.add(row, "", "no usable modality")
        return False
    try:
        labels.encode(row.label)
    except Unusable as error:
        losses.add(row, "", str(error))
        return False
    return True


def watched(items: Iterable[Item], text: str, total: int | None = None) -> Iterator[Item]:
    """Yields the items; on a terminal, with a progress bar if they take longer than two seconds.

    `total`: how many there are; may be left out for what has a length.
    """
    from rich.progress import Progress

    from sparsefuse.screen import progress_console

    begin = drawn = time.monotonic()
    progress = Progress(console=progress_console(), transient=True)
    task = progress.add_task(text, total=len(items) if isinstance(items, Sequence) else total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            if (now := time.monotonic()) - drawn < 0.1:
                continue  # telling it of each would take as long as reading some
            drawn = now
            progress.update(task, completed=done)
            if not progress.live.is_started and now - begin > 2:
                progress.start()
    finally:
        if progress.live.is_started:  # else it would print an empty line
            progress.stop()
