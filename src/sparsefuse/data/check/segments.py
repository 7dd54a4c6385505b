"""The part of its file that a row is about, by the columns `start` and `end`."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from sparsefuse.data.check.files import Files
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.files.rows import Table
from sparsefuse.media.probe import Probe

SLACK = 0.5
"""Seconds that a segment may go over its file's end: time stamps of annotators are rounded."""


class Segment(NamedTuple):
    """Seconds since the file's beginning."""

    start: float = 0.0
    end: float = math.inf


class Segments(NamedTuple):
    """The segments of all rows, and the problems with them."""

    of: dict[str, Segment]
    """id -> its segment; without the rows that are about the whole file"""
    problems: list[Problem]


def read_segments(table: Table) -> Segments:
    """From the cells of `start` and `end`, in seconds; both may be empty or absent."""
    segments: dict[str, Segment] = {}
    problems = []
    for row in table.rows:
        cells = {name: row.get(name, "") for name in Segment._fields}
        if not any(cells.values()):
            continue
        try:
            segment = Segment(**{name: _seconds(name, cell) for name, cell in cells.items() if cell})
        except ValueError as error:
            problems.append(broken("segment", f"sample {row['id']}: {error}", row["id"]))
            continue
        if segment.end <= segment.start:
            message = f"sample {row['id']}: end {segment.end:g} does not come after start {segment.start:g}"
            problems.append(broken("segment", message, row["id"]))
        else:
            segments[row["id"]] = segment
    return Segments(segments, problems)


def outside(segments: Mapping[str, Segment], files: Files) -> list[Problem]:
    """Segments that begin or end after their media file does."""
    problems = []
    for row, _, ref in files.cells(files.media):
        segment, probe = segments.get(row.id), files.of_media.get(ref)
        if segment is None or not isinstance(probe, Probe) or not probe.seconds:
            continue
        last = segment.start if segment.end == math.inf else segment.end
        if segment.start >= probe.seconds or last > probe.seconds + SLACK:
            part = f"{segment.start:g} s to {'its end' if segment.end == math.inf else f'{segment.end:g} s'}"
            message = f"sample {row.id}: {ref} is {probe.seconds:.2f} s long; the row names {part}"
            problems.append(broken("segment", message, row.id))
    return problems


def _seconds(name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {cell!r}, expected seconds, such as 12.5")
    return value
