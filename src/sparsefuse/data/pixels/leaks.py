"""Samples whose pictures are in two splits, or twice in one."""

from collections.abc import Mapping, Sequence

from sparsefuse.data.check.leaks import same_features
from sparsefuse.data.check.rules import Problem
from sparsefuse.data.pixels.survey import Facts, Found


def same_pictures(found: Mapping[str, Sequence[Found]]) -> list[Problem]:
    """Equal contents of pictures of a stream; those of one value, which say nothing, are not compared."""
    rows = {split: [one.row._replace(label="") for one in part] for split, part in found.items()}
    names = sorted({name for part in rows.values() for row in part for name in row.files})
    problems = []
    for name in names:
        hashes = {
            one.row.files[name]: facts.hash
            for part in found.values()
            for one in part
            if name in one.row.files and isinstance(facts := one.streams[name], Facts)
        }
        problems += same_features(rows, [name], hashes)
    return problems
