"""Summarises how the values of a clip's features are spread: an array in, quartiles and edges out."""

from typing import NamedTuple

import numpy as np

NARROW = 32
"""Most columns that are looked at one by one, as those of sensors; wider features are looked at as one."""
MANY = 10
"""Fewest tokens of which it is no coincidence that all rise."""
_SAMPLE = 10_000  # values of wide features that quartiles are taken from


class Edge(NamedTuple):
    """The lowest, or the highest, values of each column: (F,) each."""

    value: np.ndarray
    number: np.ndarray
    """how often it is there"""
    run: np.ndarray
    """how often one after another"""
    second: np.ndarray
    """the value next to it; itself if there is none"""
    second_number: np.ndarray


class Values(NamedTuple):
    """Of a clip with up to NARROW columns, else of all its values as one column."""

    quartiles: np.ndarray
    """(3, F)"""
    low: Edge
    high: Edge
    kinds: np.ndarray
    """(F,) different values"""
    rising: np.ndarray
    """(F,) whether it never falls: long numbers of a clock are equal in float32"""


def summed(values: np.ndarray) -> Values:
    """Of features (N, F)."""
    if values.shape[1] > NARROW:
        flat = values.reshape(-1)
        kept = flat[:: -(-len(flat) // _SAMPLE)]
        values = np.concatenate([kept, [flat.min(), flat.max()]])[:, None].astype(np.float32)
    ordered = np.sort(values, axis=0)
    new = ordered[1:] > ordered[:-1]
    number = len(values)
    return Values(
        ordered[[number // 4, number // 2, 3 * number // 4]],
        _edge(values, ordered),
        _edge(values, ordered[::-1]),
        1 + new.sum(0),
        (np.diff(values, axis=0) >= 0).all(0) & (values[-1] > values[0]) & (number >= MANY),
    )


def _edge(values: np.ndarray, ordered: np.ndarray) -> Edge:
    """Of sorted columns, the first values."""
    value = ordered[0]
    at = values == value  # (N, F)
    count = at.sum(0)
    second = np.take_along_axis(ordered, np.minimum(count, len(values) - 1)[None], axis=0)[0]
    # A run ends where the cumulative count stops growing.
    grown = np.cumsum(at, axis=0)
    run = (grown - np.maximum.accumulate(np.where(at, 0, grown), axis=0)).max(0)
    return Edge(value, count, run, second, (values == second).sum(0))
