"""Reads the pictures of one row, all of one size: its streams and its target, or why each cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sparsefuse.config.pixels import PictureStream
from sparsefuse.data.contents import hash_of
from sparsefuse.data.manifest import Row
from sparsefuse.data.pixels.read import as_labels, as_picture, read_raw, resolved
from sparsefuse.data.pixels.resize import resized, resized_labels
from sparsefuse.files.skipped import Unusable, one_file


class OtherSize(Unusable):
    """Not of the size of its row's target."""


class Loaded(NamedTuple):
    """A picture as it reaches the run, before it is normalised."""

    x: Tensor
    """(H, W, F) float32; of a label picture (H, W) int64"""
    size: tuple[int, int]
    """rows and columns of its file"""
    hash: str
    """of the file's numbers, see `contents.hash_of`"""


class Loads(NamedTuple):
    """One row."""

    streams: dict[str, Loaded | Unusable]
    """those that the row names"""
    target: Loaded | Unusable


@dataclass(frozen=True)
class Reader:
    """How rows of a run are read; all kinds are known."""

    root: Path
    streams: Mapping[str, PictureStream]
    target: PictureStream | None
    """of a target picture; None = label pictures"""
    size: tuple[int, int] | None = None
    """rows and columns that pictures are resized to"""
    guessed: frozenset[str] = frozenset()
    """streams of depth whose unit nobody stated: it is as most of their files say"""

    def read(self, row: Row) -> Loads:
        """Reads every picture of a row; one of another size than the target is unusable, unless all are resized and the
        two have one shape."""
        target = self._target(row)
        streams: dict[str, Loaded | Unusable] = {}
        for name, stream in self.streams.items():
            if name in row.files:
                found = self._stream(name, row.files[name], stream)
                if isinstance(found, Loaded) and isinstance(target, Loaded):
                    found = self._fitting(name, found, target, row)
                streams[name] = found
        return Loads(streams, target)

    def _target(self, row: Row) -> Loaded | Unusable:
        if not row.label:
            return Unusable("no label picture" if self.target is None else "no target picture")
        if self.target is not None:
            return self._stream("", row.label, self.target)
        try:
            with one_file(row.label):
                still = read_raw(row.label, self.root)
                labels = as_labels(still, row.label)
                height, width = labels.shape
                x = resized_labels(labels, *self.size) if self.size else labels
                return Loaded(x, (height, width), hash_of(still.values))
        except Unusable as error:
            return error

    def _stream(self, name: str, ref: str, stream: PictureStream) -> Loaded | Unusable:
        try:
            with one_file(ref):
                still = read_raw(ref, self.root)
                if name in self.guessed and resolved(still, replace(stream, unit=0.0)).unit != stream.unit:
                    held = "fractions" if still.values.dtype.kind == "f" else "whole numbers"
                    hint = f"set pixels.streams.{name}.unit, in metres, and save all in that unit"
                    return Unusable(f"{ref}: holds {held}, unlike most pictures of {name}; {hint}")
                x = as_picture(still, stream, ref)
                height, width = x.shape[:2]
                x = resized(x, stream.kind, *self.size) if self.size else x
                return Loaded(x, (height, width), hash_of(still.values))
        except Unusable as error:
            return error

    def _fitting(self, name: str, found: Loaded, target: Loaded, row: Row) -> Loaded | Unusable:
        (h, w), (height, width) = found.size, target.size
        alike = self.size is not None and abs(h * width - height * w) <= max(h, w, height, width)
        if found.size == target.size or alike:
            return found
        fix = (
            "their proportions differ too, so they do not show the same view"
            if self.size
            else _fix(found.size, target.size)
        )
        what = "label" if self.target is None else "target"
        return OtherSize(f"{name} is {h} x {w}, but its {what} is {height} x {width} ({row.files[name]}); {fix}")


def _fix(one: tuple[int, int], other: tuple[int, int]) -> str:
    if abs(one[0] * other[1] - other[0] * one[1]) <= max(*one, *other):
        return "set pixels.height and pixels.width to resize all"
    return "crop both alike"


def measured(x: Tensor, stream: PictureStream) -> Tensor:
    """(N, F') of the pixels that statistics are of: of depth the metres of those that were measured."""
    if stream.kind == "depth":
        return x[..., :1][x[..., 1] > 0]
    return x.flatten(0, 1)
