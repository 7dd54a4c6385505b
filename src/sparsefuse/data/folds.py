"""k folds: rows by stratum in, the rows of each fold out, every row in exactly one; the same whatever their order."""

import logging
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from sparsefuse.data.manifest import Row

log = logging.getLogger(__name__)


def folds(strata: Mapping[str, Sequence[Row]], k: int, seed: int, *, grouped: bool) -> list[list[Row]]:
    """Every stratum over all k folds; `grouped`: as evenly as whole groups allow. Raises ValueError for fewer rows or
    groups than folds."""
    single = sorted(
        name for name, rows in strata.items() if len({row.group if grouped else row.id for row in rows}) < 2
    )
    if single:
        log.warning(
            "%d classes are in one %s only, so the fold that tests it cannot train on it: %s%s",
            len(single), "group" if grouped else "clip", ", ".join(single[:10]), ", ..." if len(single) > 10 else "",
        )  # fmt: skip
    return _by_group(strata, k, seed) if grouped else _dealt(strata, k, seed)


def _dealt(strata: Mapping[str, Sequence[Row]], k: int, seed: int) -> list[list[Row]]:
    """As cards, stratum after stratum: a fold's share of a stratum, and of all, is off by less than one row."""
    cards: list[Row] = []
    for name, members in sorted(strata.items()):
        members = sorted(members, key=lambda row: row.id)
        order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(members))
        cards += [members[i] for i in order]
    _demand(len(cards), k, "clips")
    return [cards[i::k] for i in range(k)]


def _by_group(strata: Mapping[str, Sequence[Row]], k: int, seed: int) -> list[list[Row]]:
    """Largest group first, each to the fold that holds least of its strata (as scikit-learn's StratifiedGroupKFold)."""
    groups: dict[str, list[Row]] = defaultdict(list)
    shares: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(strata)))
    for i, (_, members) in enumerate(sorted(strata.items())):
        for row in members:
            groups[row.group].append(row)
            shares[row.group][i] += 1 / len(members)
    _demand(len(groups), k, "groups")
    names = sorted(groups)
    np.random.default_rng([seed, 2]).shuffle(names)  # decides between groups of one size
    held, divided = np.zeros((k, len(strata))), [list[Row]() for _ in range(k)]
    for name in sorted(names, key=lambda name: -len(groups[name])):
        fold = min(range(k), key=lambda fold: (round(held[fold] @ shares[name], 9), len(divided[fold])))
        held[fold] += shares[name]
        divided[fold] += groups[name]
    return divided


def _demand(count: int, k: int, what: str) -> None:
    if count < k:
        raise ValueError(f"data.split.k is {k}, but there are {count} {what}; give a smaller one")
