"""Summarises one file of a manifest: shape, hash and extremes of features, or the streams of media."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sparsefuse.data.arrays import load, read_array
from sparsefuse.data.values import Values, summed
from sparsefuse.files.references import split_ref
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.media.probe import Probe, probe


class Contents(NamedTuple):
    """A feature file that can be used."""

    length: int
    """N"""
    width: int
    """F"""
    hash: str
    """see `hash_of`"""
    low: np.ndarray
    """(F,) smallest value of each column"""
    high: np.ndarray
    """(F,) largest"""
    mean: np.ndarray
    """(F,) float64"""
    std: np.ndarray
    """(F,) float64"""
    values: Values
    notes: tuple[str, ...] = ()
    """what is odd, though the file can be used"""


class Fault(NamedTuple):
    """A file that cannot be used."""

    kind: Literal["missing", "unreadable", "nonfinite"]
    reason: str
    columns: tuple[int, ...] = ()
    """those with NaN or infinite values"""


def contents(ref: str, root: Path) -> Contents | Fault:
    """Reads one feature file; `ref` is relative to `root`."""
    try:
        with one_file(ref):
            values = read_array(ref, root)
    except Unusable as error:
        if not (root / ref).exists() and not (root / split_ref(ref)[0]).exists():
            return Fault("missing", str(error))
        columns = _not_finite(ref, root)
        return Fault("nonfinite" if columns else "unreadable", str(error), columns)
    return _summary(values)


class Span(NamedTuple):
    """A part of a file, in seconds."""

    start: float = 0.0
    end: float | None = None


class TableReadings(NamedTuple):
    """What is made of a sensor's file."""

    values: np.ndarray
    """(N, F) float32, of all parts one after another"""
    length: int
    """tokens of the first part"""
    notes: tuple[str, ...]


def table_contents(
    ref: str,
    root: Path,
    *,
    read: Callable[[Path, Sequence[Span]], TableReadings],
    spans: Mapping[str, Sequence[Span]],
) -> Contents | Fault:
    """Reads the parts of a sensor's file that rows name, as extraction does; `ref` is relative to `root`."""
    path = media_path(ref, root)
    if not path.exists():
        return Fault("missing", f"{ref}: file not found in {root.resolve()}")
    try:
        values, length, notes = read(path, spans[ref])
    except Unusable as error:
        return Fault("unreadable", str(error).replace(str(path), ref))
    if not np.isfinite(values).all():
        return Fault("nonfinite", f"{ref}: has values that do not fit float32")
    return _summary(values)._replace(length=length, notes=notes)


def _summary(values: np.ndarray) -> Contents:
    moments = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    edges = values.min(0), values.max(0)
    return Contents(values.shape[0], values.shape[1], hash_of(values), *edges, *moments, summed(values))


def hash_of(values: np.ndarray) -> str:
    """Of shape and values: the same features in another file or format have the same. Empty if all values are equal,
    such as the zeros in place of a missing stream, which says nothing about the clip."""
    first = values.flat[0]
    if values.flat[-1] == first and (values == first).all():
        return ""
    digest = hashlib.sha256(repr(values.shape).encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[:16]


def _not_finite(ref: str, root: Path) -> tuple[int, ...]:
    """Columns with NaN or infinite values, if that is what is wrong with the file."""
    try:
        values = load(ref, root)
    except Unusable:
        return ()
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2):
        return ()
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(values.reshape(len(values), -1).astype(np.float32))
    return tuple(np.flatnonzero(~finite.all(0)).tolist())


def media_contents(ref: str, root: Path) -> Probe | Fault:
    """Probes one media file; `ref` is relative to `root`."""
    path = media_path(ref, root)
    if not path.exists():
        return Fault("missing", f"{ref}: file not found in {root.resolve()}")
    try:
        with one_file(ref):
            return probe(path)
    except Unusable as error:
        return Fault("unreadable", str(error))


def media_path(ref: str, root: Path) -> Path:
    """Where a cell's media file is."""
    return root / ref if (root / ref).exists() else root / split_ref(ref)[0]


def hash_file(path: Path) -> str:
    """Of the file's bytes, a block of them in memory at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
