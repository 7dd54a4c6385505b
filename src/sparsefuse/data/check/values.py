"""Values that may be no readings: extremes, numbers that stand for no value, limits of a device, clocks."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import NamedTuple

import numpy as np

from sparsefuse.data.check.files import Features, Files
from sparsefuse.data.check.ids import some
from sparsefuse.data.check.lengths import FEWEST
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.values import MANY, NARROW, Edge, Values

ROBUST = 50
"""Scaled median absolute deviations off the median from which a value is extreme."""
REACH = 10
"""Times as far off the median as clips usually reach, from which it is."""
_NO_VALUE = (99, 999, 9999, 99999, 999999, 32767, 32768, 65535, 2**31 - 1, 2**31)
_KINDS = 16  # different values; fewer may be states
_LONG, _LARGE = 5, 0.05  # tokens at a limit, one after another and of all, that one clip alone may show


class _Clip(NamedTuple):
    id: str
    length: int
    values: Values

    def edges(self) -> Iterator[tuple[str, Edge, Edge]]:
        """The lowest and the highest values, and the opposite ones."""
        yield "lowest", self.values.low, self.values.high
        yield "highest", self.values.high, self.values.low


def odd_values(files: Files, widths: Mapping[str, int]) -> list[Problem]:
    """Of every modality, among its files with the usual number of features."""
    problems = []
    for name, width in widths.items():
        clips = [
            _Clip(row.id, file.length, file.values)
            for row, _, ref in files.cells([name])
            if isinstance(file := files.of_features[ref], Features) and file.width == width
        ]
        if width > NARROW or not clips:
            problems += _extremes(name, clips, wide=True)
            continue
        apart = _apart(clips)
        taken = {column for column, _ in apart}
        problems += _sentinels(name, clips, apart)
        problems += _extremes(name, clips, besides=taken)
        problems += _saturated(name, clips, taken)
        long = [clip.values.rising for clip in clips if clip.length >= MANY]
        columns = np.flatnonzero(np.all(long, axis=0)) if long else ()
        problems += [broken("rising", f"{name}: column {column} rises in every clip") for column in columns]
    return problems


def _extremes(
    name: str, clips: Sequence[_Clip], *, besides: Set[int] = frozenset(), wide: bool = False
) -> list[Problem]:
    """By the robust z of the value of a clip that is furthest off the median of all clips."""
    if len(clips) < FEWEST:
        return []
    quartiles = np.array([clip.values.quartiles for clip in clips], dtype=np.float64)  # (clips, 3, F)
    ends = np.array([(clip.values.low.value, clip.values.high.value) for clip in clips], dtype=np.float64)
    middle = np.median(quartiles[:, 1], axis=0)
    scale = 1.4826 * np.median(np.abs(quartiles - middle), axis=(0, 1))
    reach = np.abs(ends - middle).max(1)  # (clips, F)
    usual = np.median(reach, axis=0)
    # Where most values are equal there is no scale: what clips usually reach stands for it.
    scale = np.where(scale > 0, scale, usual * REACH / ROBUST * REACH)
    robust = reach / np.where(scale > 0, scale, np.inf)
    robust[:, list(besides)] = 0
    robust[reach <= REACH * usual] = 0
    problems = []
    for i in np.flatnonzero(robust.max(1) > ROBUST).tolist():
        column = int(np.argmax(robust[i]))
        value = max(ends[i, :, column], key=lambda end: abs(end - middle[column]))
        where = name if wide else f"{name}, column {column},"
        message = f"sample {clips[i].id}: {where} has {value:g}; the median of all clips is {middle[column]:g}"
        off = f"{robust[i, column]:.3g} scaled MADs off it"
        problems.append(broken("extreme", f"{message}, it is {off}", clips[i].id))
    return problems


def _apart(clips: Sequence[_Clip]) -> set[tuple[int, float]]:
    """(column, value) of lowest and highest values far from all others that are usual for "no value", or come often."""
    counts: dict[tuple[int, float], int] = defaultdict(int)
    known = set()
    for clip in clips:
        for _, edge, other in clip.edges():
            gap = np.abs(edge.value - edge.second)
            rest = np.minimum(np.abs(edge.second - other.value), np.abs(edge.second - clip.values.quartiles[1]))
            usual = np.isin(np.abs(edge.value), _NO_VALUE) & (gap > rest)
            often = (
                (edge.value == np.round(edge.value))
                & (edge.value != 0)
                & (clip.values.kinds >= _KINDS)
                & (gap > 3 * rest)
            )
            for column in np.flatnonzero(usual | often):
                key = int(column), float(edge.value[column])
                counts[key] += int(edge.number[column])
                if usual[column]:
                    known.add(key)
    return {key for key, count in counts.items() if key in known or count >= _LONG}


def _sentinels(name: str, clips: Sequence[_Clip], apart: set[tuple[int, float]]) -> list[Problem]:
    problems = []
    for column, value in sorted(apart):
        counts = {
            clip.id: int(edge.number[column])
            for clip in clips
            for _, edge, _ in clip.edges()
            if edge.value[column] == value
        }
        often = f"{sum(counts.values())} times in {len(counts)} clips ({some(counts)})"
        message = f"{name}: column {column} is {value:g} {often}, far from its other values"
        problems.append(broken("sentinel", message, *counts))
    return problems


def _saturated(name: str, clips: Sequence[_Clip], besides: Set[int]) -> list[Problem]:
    """Columns that stay at their lowest or highest value, in several clips, at both ends, or long."""
    at: dict[tuple[int, str, float], list[_Clip]] = defaultdict(list)
    sure = set()
    for clip in clips:
        stays = {
            end: (edge.run >= 3) & (edge.number >= 3 * edge.second_number) & (edge.value != 0)
            for end, edge, _ in clip.edges()
        }
        both = stays["lowest"] & stays["highest"] & (clip.values.low.value == -clip.values.high.value)
        for end, edge, _ in clip.edges():
            long = both | ((edge.run >= _LONG) & (edge.number >= _LARGE * clip.length))
            for column in np.flatnonzero(stays[end] & (clip.values.kinds >= _KINDS)):
                key = int(column), end, float(edge.value[column])
                at[key].append(clip)
                if long[column]:
                    sure.add(key)
    problems = []
    for key, found in at.items():
        column, end, value = key
        if column not in besides and (key in sure or len(found) > 1):
            ids = [clip.id for clip in found]
            often = f"stays at {value:g}, its {end} value, in {len(found)} clips ({some(ids)})"
            problems.append(broken("saturated", f"{name}: column {column} {often}", *ids))
    return problems
