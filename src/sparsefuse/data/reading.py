"""The one reading of all files before training: their shapes, and the moments of the training clips.

Large arrays are read by threads, and many by processes, which take seconds to start.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
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
from sparsefuse.parallel.ahead import ahead, by_processes

THREADS = 8
"""that read at once, or processes, at most, where so many may compute"""
MANY = 20_000
"""arrays from which on processes read them"""
LARGE = 2**15
"""numbers of an array, of the first few in the mean, from which on threads read them: reading smaller ones hardly
frees the GIL, and threads that wait for it take half as long again as one"""
FEW = 16
"""arrays that are read first"""

Found = tuple[Shape | Unusable, Moments | None]
"""Of one array; the moments of a training clip's, if they are asked for."""


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
        cells = list(cells)
        shapes = [known.shape(cell.ref) for cell in cells]
        unknown = [cell for cell, shape in zip(cells, shapes, strict=True) if shape is None]
        with closing(_all(partial(_read, root, self.fit, self.measured), unknown)) as found:
            for cell, shape in zip(cells, shapes, strict=True):
                shape, moments = (shape, None) if shape else next(found)
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


def _all(read: Callable[[Cell], Found], cells: Sequence[Cell]) -> Generator[Found, None, None]:
    """What is found in each, in their order."""
    readers = min(torch.get_num_threads(), THREADS)
    if readers == 1 or len(cells) < MANY:
        few = [*map(read, cells[:FEW])]
        yield from few
        sizes = [shape.length * shape.width for shape, _ in few if isinstance(shape, Shape)]
        yield from ahead(read, cells[FEW:], readers if sum(sizes) >= LARGE * len(sizes) else 1)
        return
    with closing(by_processes(read, cells, readers)) as results:
        for cell, found in zip(cells, results, strict=True):
            yield found or (Unusable(f"{cell.ref}: the process that read it died"), None)


def _read(root: Path, fit: Lengths, measured: bool, cell: Cell) -> Found:
    try:
        with one_file(cell.ref):
            values = read_array(cell.ref, root)
    except Unusable as error:
        return error, None
    shape = Shape(values.shape[0], values.shape[1], hash_of(values))
    if not measured or cell.split != "train":
        return shape, None
    if fit.after(cell.modality, shape.length) != shape.length:
        values = fit.fit(cell.modality, torch.from_numpy(values)).numpy()
    return shape, Moments.of(values)
