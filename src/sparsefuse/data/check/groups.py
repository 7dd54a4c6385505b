"""Groups (people, recordings): which split has them, whether one validates alone, and which lie apart."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sparsefuse.data.check.files import Files, Sums
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.manifest import Row
from sparsefuse.data.split import lone_judge

FEWEST, CLIPS = 4, 5
"""Fewest groups, of so many clips each, that show what is usual."""
DEVIATIONS, FACTOR, LEAST = 5, 2, 0.3
"""Scaled median absolute deviations above the median distance; times the median; and in deviations of a feature."""


def groups_of(splits: Mapping[str, Sequence[Row]]) -> dict[str, list[str]]:
    """Split -> its groups, sorted; empty without groups."""
    groups = {split: sorted({row.group for row in rows} - {""}) for split, rows in splits.items()}
    return groups if any(groups.values()) else {}


def odd_groups(splits: Mapping[str, Sequence[Row]], files: Files) -> list[Problem]:
    """A group that validates alone, and groups whose streams have other means or deviations than those of the rest."""
    problems = []
    if judge := lone_judge(splits):
        problems.append(broken("one-group", f"{judge} alone validates, so it alone chooses the checkpoint"))
    groups = groups_of(splits)
    for (name, _), moments in files.moments.items():
        for far in _apart({group: sums for group, sums in moments.items() if group and sums.clips >= CLIPS}):
            where = " and ".join(split for split in groups if far.group in groups[split]) or "no split"
            problems.append(
                broken(
                    "group-apart",
                    f"group {far.group} ({where}, {moments[far.group].clips} clips): {name} lies {far.times:.1f} times "
                    f"as far from the middle of the groups as usual, most in feature {far.feature} (from 0): its "
                    f"{far.what} is {far.value:.3g}, {far.usual:.3g} in the median group",
                )
            )
    return problems


class _Far(NamedTuple):
    group: str
    times: float
    """its distance over the median one"""
    feature: int
    what: str
    value: float
    usual: float


def _apart(moments: Mapping[str, Sums]) -> list[_Far]:
    """A group's distance is the root mean square, over features, of how far its mean and its log deviation are from
    those of the median group, in deviations of the feature over all clips."""
    if len(moments) < FEWEST:
        return []
    names, clips = list(moments), sum(sums.clips for sums in moments.values())
    mean, _, square, variance = np.sum([sums.of for sums in moments.values()], 0) / clips
    scale = np.sqrt(np.maximum(variance + square - mean**2, 0))
    scale[scale <= 1e-6 * np.abs(mean)] = 1.0  # a constant feature
    values = np.stack([sums.of[:2] / sums.clips for sums in moments.values()])  # (G, 2, F)
    offs = values / scale
    offs[:, 1] = np.log(np.maximum(offs[:, 1], 1e-3))
    offs = np.abs(offs - np.median(offs, 0))
    distances = np.sqrt((offs**2).mean((1, 2)))
    middle = float(np.median(distances))
    limit = middle + DEVIATIONS * 1.4826 * float(np.median(np.abs(distances - middle)))
    far = []
    for place in np.flatnonzero(distances >= max(limit, FACTOR * middle, LEAST)):
        kind, feature = np.unravel_index(offs[place].argmax(), offs[place].shape)
        usual = float(np.median(values[:, kind, feature]))
        times, what = distances[place] / max(middle, 1e-9), ("mean", "deviation")[kind]
        far.append(_Far(names[place], times, int(feature), what, float(values[place, kind, feature]), usual))
    return far
