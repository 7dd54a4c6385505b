"""The one reading of all files before training: their shapes, and the moments of the training clips, by threads."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch

from sparsefuse.data.arrays import read_array
from sparsefuse.data.checked import Checked, Shape
from sparsefuse.data.contents import hash_of
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.prepare import Cell
from sparsefuse.data.stats import Measuring, Moments
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.parallel.ahead import ahead

THREADS = 8
"""that read at once, at most, where so many may compute"""


class Reading:
    """Reads every file once, for its shape and for the moments of a training clip; of known files, nothing."""

    def __init__(self, fit: Lengths, *, measured: bool) -> None:
        self.fit, self.measured = fit, measured
        self.moments = Measuring()
        self.lengths: dict[str, int] = {}
        """reference -> N"""
        self._train: list[tuple[str, str, int]] = []

    def shapes(self, known: Checked, cells: Iterable[Cell], root: Path) -> Iterator[Shape | Unusable]:
        """As `prepare.read_shapes`."""
        threads = min(torch.get_num_threads(), THREADS)
        for cell, shape, moments in ahead(partial(self._read, known, root), cells, threads):
            if isinstance(shape, Shape):
                self.lengths[cell.ref] = shape.length
                known.add(cell.ref, shape)
            if moments is not None:
                self.moments.add(cell.modality, moments)
                self._train.append((cell.modality, cell.ref, len(moments.mean)))
            yield shape

    def train(self, features: Mapping[str, int]) -> list[tuple[str, str]]:
        """Modality and reference of the training files that were measured, of these widths."""
        return [(name, ref) for name, ref, width in self._train if features.get(name) == width]

    def _read(self, known: Checked, root: Path, cell: Cell) -> tuple[Cell, Shape | Unusable, Moments | None]:
        if (shape := known.shape(cell.ref)) is not None:
            return cell, shape, None
        try:
            with one_file(cell.ref):
                values = read_array(cell.ref, root)
        except Unusable as error:
            return cell, error, None
        shape, moments = Shape(values.shape[0], values.shape[1], hash_of(values)), None
        if self.measured and cell.split == "train":
            moments = Moments.of(self.fit.fit(cell.modality, torch.from_numpy(values)).numpy())
        return cell, shape, moments
