"""Reads every file of a manifest once and keeps a summary of each; the arrays themselves are not kept."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from sparsefuse.data.checked import Shape
from sparsefuse.data.contents import Contents, Fault, Span, TableReadings, contents, media_contents, table_contents
from sparsefuse.data.manifest import Row
from sparsefuse.data.prepare import Cell, watched
from sparsefuse.data.values import Values
from sparsefuse.files.references import FEATURES, MEDIA, TABLES, suffix
from sparsefuse.files.skipped import Unusable
from sparsefuse.media.probe import Probe
from sparsefuse.parallel.workers import each

FEW = 5000
"""Feature files that one process reads before others would have started."""
MOST_GROUPS = 200
"""Groups whose statistics are kept; of more, one that lies apart matters little."""
FEW_TABLES = 50
"""Sensor files, which take longer."""
SECONDS = 60.0
"""Time-out for probing one media file; that takes seconds, but a malicious file may stall the decoder."""

ReadTable = Callable[[Path, Sequence[Span]], TableReadings]


class Features(NamedTuple):
    """One feature file that can be read."""

    length: int
    width: int
    hash: str
    values: Values
    notes: tuple[str, ...] = ()


class Extremes(NamedTuple):
    """Smallest and largest value of every column, over all clips of one width."""

    low: np.ndarray
    high: np.ndarray


class Sums(NamedTuple):
    """Sums over the clips of a group, in one column."""

    clips: int
    of: np.ndarray
    """(4, F): of means over time, deviations, squared means, variances"""

    def plus(self, mean: np.ndarray, std: np.ndarray) -> "Sums":
        """With one more clip."""
        return Sums(self.clips + 1, self.of + np.stack([mean, std, mean**2, std**2]))


class Files:
    """A summary of every file; `features` and `media` are columns, sorted."""

    def __init__(
        self,
        rows: Sequence[Row],
        columns: Sequence[str],
        tables: Mapping[str, ReadTable | None] = MappingProxyType({}),
        texts: Sequence[str] = (),
    ) -> None:
        """`tables`: columns of sensor files that features are yet to be made of, and what reads them; `texts`: of
        sentences."""
        self.rows = rows
        kinds = {name: [suffix(row.files[name]) for row in rows if name in row.files] for name in columns}

        def holding(of: Set[str]) -> set[str]:  # as `Table.holds`: most cells decide
            return {name for name, found in kinds.items() if 2 * sum(kind in of for kind in found) > len(found)}

        self.csv = holding(TABLES)
        raw = (set(columns) & set(tables)) - holding(FEATURES - TABLES)
        self.tables = {name: read for name in sorted(raw) if (read := tables[name])}
        self.media = sorted(holding(MEDIA) - set(self.tables))
        self.features = sorted(set(columns) - set(self.media) - (raw & self.csv - set(self.tables)) - set(texts))
        self.unread = sorted(set(columns) - set(self.features) - set(self.media))
        """columns of which an extractor reads what is not looked at here"""
        self.of_features: dict[str, Features | Fault] = {}
        """by reference, as the manifest has it"""
        self.of_media: dict[str, Probe | Fault] = {}
        """by reference; those on other machines are absent"""
        self.extremes: dict[tuple[str, int], Extremes] = {}
        """(column, F) ->"""
        self.moments: dict[tuple[str, int], dict[str, Sums]] = defaultdict(dict)
        """(column, F) -> group ->"""

    @property
    def made(self) -> list[str]:
        """The columns of features that need no extraction."""
        return [name for name in self.features if name not in self.tables]

    def cells(self, columns: Iterable[str]) -> Iterator[tuple[Row, str, str]]:
        """Row, column and reference of every cell that is not empty."""
        return ((row, name, row.files[name]) for row in self.rows for name in columns if name in row.files)

    def read(self, root: Path, jobs: int, spans: Mapping[str, Span] = MappingProxyType({})) -> None:
        """Reads every file once, of a sensor's the `spans` of its rows, by id; sensors' and media in `jobs` processes
        (0: one per core), so that a crash, or a media file that takes longer than SECONDS, costs one file."""
        where: dict[str, set[tuple[str, str]]] = defaultdict(set)
        few = len({row.group for row in self.rows}) <= MOST_GROUPS
        for row, name, ref in self.cells(self.features):
            where[ref].add((name, row.group if few else ""))
        of_tables = {ref for _, _, ref in self.cells(self.tables)}
        plain = [ref for ref in where if ref not in of_tables]
        work = [(partial(contents, root=root), plain, FEW)]
        for name, read in self.tables.items():
            parts: dict[str, list[Span]] = defaultdict(list)
            for row, _, ref in self.cells([name]):
                parts[ref].append(spans.get(row.id, Span()))
            work.append((partial(table_contents, root=root, read=read, spans=dict(parts)), list(parts), FEW_TABLES))
        for task, refs, fewest in work:
            with closing(each(task, refs, 1 if len(refs) < fewest else jobs)) as results:
                for ref, content in watched(results, "reading features", len(refs)):
                    self.of_features[ref] = self._kept(content, where[ref]) if content else _crash(ref)
        refs = list(dict.fromkeys(ref for _, _, ref in self.cells(self.media) if not is_remote(ref)))
        late = Fault("unreadable", f"probing it timed out after {SECONDS:g} s")
        with closing(each(partial(media_contents, root=root), refs, jobs, timeout=SECONDS, late=late)) as results:
            for ref, content in watched(results, "probing media", len(refs)):
                self.of_media[ref] = _named(ref, late) if content is late else content or _crash(ref)

    def shapes(self, cells: Iterable[Cell], root: Path) -> Iterator[Shape | Unusable]:
        """As `prepare.read_shapes`, from memory; a media file that can be read counts as one token."""
        for cell in cells:
            content = self.of_features.get(cell.ref) or self.of_media.get(cell.ref)
            yield Unusable(content.reason) if isinstance(content, Fault) else self.shape(cell.ref)

    def shape(self, ref: str) -> Shape:
        """Of a file that can be used."""
        content = self.of_features.get(ref)
        return Shape(content.length, content.width) if isinstance(content, Features) else Shape(1, 1)

    def probes(self, column: str) -> Iterator[tuple[Row, str, Probe]]:
        """The media files of a column that can be read, each once, with the first row that has it."""
        visited = set()
        for row, _, ref in self.cells([column]):
            content = self.of_media.get(ref)
            if isinstance(content, Probe) and ref not in visited:
                visited.add(ref)
                yield row, ref, content

    def _kept(self, content: Contents | Fault, uses: set[tuple[str, str]]) -> Features | Fault:
        if isinstance(content, Fault):
            return content
        for name, group in uses:
            if group:
                of = self.moments[name, content.width]
                of[group] = of.get(group, Sums(0, np.zeros(()))).plus(content.mean, content.std)
            before = self.extremes.get((name, content.width), content)
            low, high = np.minimum(before.low, content.low), np.maximum(before.high, content.high)
            self.extremes[name, content.width] = Extremes(low, high)
        return Features(content.length, content.width, content.hash, content.values, content.notes)


def is_remote(ref: str) -> bool:
    """Whether a cell is a URL."""
    return "://" in ref


def _named(ref: str, fault: Fault) -> Fault:
    return fault._replace(reason=f"{ref}: {fault.reason}")


def _crash(ref: str) -> Fault:
    return Fault("unreadable", f"{ref}: the decoder crashed")
