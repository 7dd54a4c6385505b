"""Classes that a drawn split lacks: divided rows in, the same rows with as many classes in each split as can be out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import permutations

import numpy as np

from sparsefuse.data.manifest import Row

Classes = Callable[[Row], Iterable[str]]
"""the classes that a row has"""
CANDIDATES = 50
"""groups on either side that are tried for a swap"""
LARGEST = 30_000_000
"""groups times classes; where there are more, a class is hardly missing, and trying swaps takes long"""


def cover_by_clips(
    divided: Mapping[str, Sequence[Row]], classes: Classes, needed: Callable[[int], bool]
) -> dict[str, list[Row]]:
    """Moves single rows so that every class of which there are enough clips, as `needed` says of their number, is in
    every split; no split loses its last row of any class for that."""
    moved = {name: list(rows) for name, rows in divided.items()}
    counts = {name: Counter(label for row in rows for label in classes(row)) for name, rows in moved.items()}
    totals = sum(counts.values(), Counter[str]())
    for label in sorted(totals, key=lambda label: (totals[label], label)):
        for lacking in moved:
            if counts[lacking][label] or not needed(totals[label]):
                continue
            for giver in sorted(moved, key=lambda name: -counts[name][label]):
                spare = [row for row in moved[giver] if label in classes(row)]
                spare = [row for row in spare if all(counts[giver][other] > 1 for other in classes(row))]
                if spare:
                    moved[giver].remove(spare[-1])
                    moved[lacking].append(spare[-1])
                    counts[giver].subtract(classes(spare[-1]))
                    counts[lacking].update(classes(spare[-1]))
                    break
    return moved


def cover_by_groups(divided: Mapping[str, Sequence[Row]], classes: Classes) -> dict[str, list[Row]]:
    """Swaps whole groups between splits as long as fewer classes are missing after it: in train first, then in the
    others. A swap changes no split's size by more than half."""
    names = list(divided)
    groups: dict[str, list[Row]] = defaultdict(list)
    place: list[int] = []  # of each group, its split
    for split, rows in enumerate(divided.values()):
        for row in rows:
            if row.group not in groups:
                place.append(split)
            groups[row.group].append(row)
    known: dict[str, int] = {}
    for rows in groups.values():
        for row in rows:
            for label in classes(row):
                known.setdefault(label, len(known))
    if len(groups) * len(known) > LARGEST:
        return {name: list(rows) for name, rows in divided.items()}
    counts = np.zeros((len(groups), len(known)), np.int32)
    for group, rows in enumerate(groups.values()):
        for row in rows:
            for label in classes(row):
                counts[group, known[label]] += 1
    sizes = np.array([len(rows) for rows in groups.values()])
    held = np.array(place)
    while swap := _best_swap(counts, sizes, held, len(names), names.index("train")):
        held[list(swap)] = held[list(swap)[::-1]]
    parts: dict[str, list[Row]] = {name: [] for name in names}
    for group, rows in enumerate(groups.values()):
        parts[names[held[group]]] += rows
    return parts


def _best_swap(
    counts: np.ndarray, sizes: np.ndarray, held: np.ndarray, splits: int, train: int
) -> tuple[int, int] | None:
    """The two groups after whose swap the fewest classes are missing, of such those of the nearest sizes; None if none
    helps. `counts` (groups, classes) are rows, as are `sizes`; `held` is the split of each group."""
    there = np.stack([counts[held == split].sum(0) for split in range(splits)])
    absent = (there == 0).sum(1)
    best, found = (int(absent[train]), int(absent.sum()), 0), None
    for lacking, giver in permutations(range(splits), 2):
        takers, givers = np.flatnonzero(held == lacking), np.flatnonzero(held == giver)
        most = min(sizes[takers].sum(), sizes[givers].sum()) / 2
        for given in givers[counts[givers][:, there[lacking] == 0].any(1)][:CANDIDATES]:
            change = np.abs(sizes[takers] - sizes[given])
            near = np.argsort(change, kind="stable")[:CANDIDATES]
            near = near[change[near] <= most]
            exchanged = counts[takers[near]] - counts[given]  # (groups, classes): what the giver gains
            after = np.repeat(absent[None], len(near), 0)
            after[:, giver] = (there[giver] + exchanged == 0).sum(1)
            after[:, lacking] = (there[lacking] - exchanged == 0).sum(1)
            for i, missing in enumerate(after):
                score = (int(missing[train]), int(missing.sum()), int(change[near[i]]))
                if score < best:
                    best, found = score, (int(given), int(takers[near[i]]))
    return found
