"""Which streams earn their place: clips of several groups in; the streams that trees gain by, of groups that they have
not seen, out.

The people who validate are few, and streams that tell who somebody is mislead. So all groups of the training and the
validation split take turns, in folds: extra trees on statistics of each set of streams, in seconds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sparsefuse.baseline.fit import rows_of
from sparsefuse.baseline.model import Summary, build
from sparsefuse.data.clips import Clips
from sparsefuse.parallel.cores import cores

FOLDS, TREES = 5, 100
FEWEST = 3
"""groups"""


class Gain(NamedTuple):
    """The streams to read, and shares of the clips of other groups that trees on each set of streams had right."""

    best: frozenset[str]
    shares: dict[frozenset[str], float]


def streams_that_help(clips: Clips, sets: Sequence[frozenset[str]], *, seed: int) -> Gain | None:
    """Of the `sets` of streams the smallest that is not worse than the best one by more than a standard error: trees
    can pass over what adds nothing, other models are harmed by it. None of a task without classes, or where clips
    are of fewer than three groups."""
    rows = [row for name in ("train", "valid") for row in clips.splits[name].rows]
    groups = sorted({row.group for row in rows})
    if clips.labels.task != "class" or len(groups) < FEWEST or "" in groups:
        return None
    from sklearn.ensemble import ExtraTreesClassifier

    model = build(clips.features, clips.labels.num_outputs, lengths=clips.longest).eval()
    found = [rows_of(model, clips.splits[name]) for name in ("train", "valid") if len(clips.splits[name])]
    x, there = (np.concatenate([part[at].numpy() for part in found]) for at in (0, 1))
    y = np.array([int(clips.labels.encode(row.label)) for row in rows])
    fold = np.array([groups.index(row.group) % FOLDS for row in rows])
    widths = Summary(clips.features, clips.longest).widths
    owner = np.repeat(list(widths), list(widths.values()))
    right = {streams: np.zeros(len(y), dtype=bool) for streams in sets}
    for held in np.unique(fold):
        train, test = fold != held, fold == held
        means = x[train].sum(0) / there[train].sum(0).clip(1)
        filled = x + (1 - there) * means
        for streams, hits in right.items():
            columns = filled[:, np.isin(owner, list(streams))]
            trees = ExtraTreesClassifier(TREES, random_state=seed, n_jobs=cores()).fit(columns[train], y[train])
            hits[test] = trees.predict(columns[test]) == y[test]
    shares = {streams: float(hits.mean()) for streams, hits in right.items()}
    top = max(sets, key=lambda streams: shares[streams])
    alike = [one for one in sets if shares[top] - shares[one] <= math.sqrt((right[one] != right[top]).mean() / len(y))]
    return Gain(min(alike, key=lambda streams: (len(streams), -shares[streams])), shares)
