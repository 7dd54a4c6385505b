"""Splits the rows of a manifest into train, valid and test."""

import logging
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from sparsefuse.config import Split
from sparsefuse.data.cover import cover_by_clips, cover_by_groups
from sparsefuse.data.folds import folds
from sparsefuse.data.labels import parts
from sparsefuse.data.manifest import JOIN, SPLITS, Manifest, Row
from sparsefuse.errors import unknown
from sparsefuse.metrics import Task
from sparsefuse.shown import counted

log = logging.getLogger(__name__)

FEWEST = 3
"""clips of a class that suffice for one in each split"""
JUDGES = 2
"""Groups that validate, where there are enough: one person alone may be the odd one, and would choose the epoch."""


def split_rows(manifest: Manifest, split: Split, task: Task) -> dict[str, list[Row]]:
    """Divides the rows into train, valid and test, whatever the order of the manifest's rows.

    Raises ValueError if the rows cannot be divided as configured.
    """
    rows, by = manifest.rows, division(split, manifest.rows)
    test: list[Row] = []
    if split.k:
        test = folds(_strata(rows, task), split.k, split.seed, grouped=by == "group")[split.fold or 0]
        if by == "group":
            split = replace(split, test_groups=sorted({row.group for row in test}))
    if split.test_groups and by != "group":
        raise ValueError(f"split.test_groups needs a group split, but split.by is {by}; set split.by=group")
    shares = _shares(split)
    if by == "given":
        divided = _given(manifest, split, shares, task)
    elif by == "group":
        divided = _by_group(manifest, split, shares, task)
    else:
        tested = {row.id for row in test}
        rest = [row for row in rows if row.id not in tested]
        shares = _without(shares, "test") if test else shares
        divided = {"test": test, **_stratified(rest, shares, task, split.seed)}
        _demand(divided, shares, f"{counted(len(rest), 'row')} left: too few for a stratified split")
    if split.train_share < 1:
        shares = {"train": split.train_share, "left out": 1 - split.train_share}
        kept = _stratified(divided["train"], shares, task, split.seed)["train"]
        if len(kept) > (split.train_share + 0.02) * len(divided["train"]):
            log.warning(
                "split.train_share is %g, but every label keeps one clip: %d of %d stay",
                split.train_share, len(kept), len(divided["train"]),
            )  # fmt: skip
        divided["train"] = kept
    for name in {"none": (), "valid": ("valid",), "all": ("valid", "test")}[split.refit]:
        divided["train"] = [*divided["train"], *divided.pop(name, [])]
    if judge := lone_judge(divided):
        log.warning(
            "one group alone (%s) validates, so it alone chooses the checkpoint; put more groups into valid, or set "
            "split.by=group and split.valid_by=stratified", judge,
        )  # fmt: skip
    order = {row.id: i for i, row in enumerate(rows)}
    return {name: sorted(divided.get(name, []), key=lambda row: order[row.id]) for name in SPLITS}


def division(split: Split, rows: Sequence[Row]) -> Literal["given", "stratified", "group"]:
    """How rows are divided: what `auto` stands for, or else `split.by`."""
    if split.by != "auto":
        return split.by
    if any(row.split for row in rows) and not split.k:
        return "given"
    return "group" if any(row.group for row in rows) else "stratified"


def lone_judge(divided: Mapping[str, Sequence[Row]]) -> str:
    """The only group of the validation split, if training has others; else empty."""
    judges, trained = ({row.group for row in divided.get(name, [])} for name in ("valid", "train"))
    return judges.pop() if len(judges) == 1 and trained - judges else ""


def _shares(split: Split) -> dict[str, float]:
    if any(f < 0 for f in split.fractions) or abs(sum(split.fractions) - 1) > 1e-6 or split.fractions[0] == 0:
        raise ValueError(
            f"split.fractions is {list(split.fractions)}; expected shares of train, valid and test that sum to 1, "
            "with train above 0, such as [0.7, 0.1, 0.2]"
        )
    return dict(zip(SPLITS, split.fractions, strict=True))


def _given(manifest: Manifest, split: Split, shares: dict[str, float], task: Task) -> dict[str, list[Row]]:
    missing = [row.id for row in manifest.rows if not row.split]
    if missing:
        raise ValueError(
            f"{manifest.path}: {len(missing)} of {len(manifest.rows)} rows have no split (such as {missing[0]!r}); "
            f"fill the 'split' column with {', '.join(SPLITS)}, or set split.by"
        )
    divided = {name: [row for row in manifest.rows if row.split == name] for name in SPLITS}
    if not divided["train"]:
        raise ValueError(f"{manifest.path}: no row has split 'train', so there are no training rows; set split.by")
    if not divided["valid"]:
        divided |= _drawn(divided["train"], split, _without(shares, "test"), task)
    if not divided["test"]:
        log.warning("the manifest has no test split: nothing will be tested")
    return divided


def _drawn(rows: list[Row], split: Split, shares: dict[str, float], task: Task) -> dict[str, list[Row]]:
    """Training and validation clips of given training rows: where there are enough groups, whole ones validate."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row)
    whole = split.valid_by != "stratified" and shares["valid"] > 0 and "" not in groups and _enough(groups, shares)
    if whole:
        divided = _greedy({name: groups[name] for name in sorted(groups)}, shares, split)
        divided = cover_by_groups(divided, partial(_classes, task)) if task != "regression" else divided
    else:
        divided = _stratified(rows, shares, task, split.seed)
    of = f" of {len({row.group for row in divided['valid']})} groups" * whole
    log.warning("the manifest has no valid split: %s%s drawn from train", counted(len(divided["valid"]), "row"), of)
    return divided


def _stratified(rows: Sequence[Row], shares: dict[str, float], task: Task, seed: int) -> dict[str, list[Row]]:
    """Every stratum in proportion; the rounding error of one stratum is carried over to the next."""
    divided: dict[str, list[Row]] = {name: [] for name in shares}
    owed = dict.fromkeys(shares, 0.0)
    strata = _strata(rows, task)
    for name, members in sorted(strata.items()):
        members = sorted(members, key=lambda row: row.id)
        order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(members)).tolist()
        counts = _counts(len(members), shares, owed)
        start = 0
        for split_name, count in counts.items():
            divided[split_name] += [members[i] for i in order[start : start + count]]
            start += count
    single = sorted(name for name, members in strata.items() if name and len(members) == 1)
    if single and task != "regression":
        shown = ", ".join(single[:10]) + (", ..." if len(single) > 10 else "")
        have = "1 class has" if len(single) == 1 else f"{len(single)} classes have"
        log.warning("%s a single clip, which goes to train: %s", have, shown)
    return _covered(divided, shares, task)


def _covered(divided: dict[str, list[Row]], shares: dict[str, float], task: Task) -> dict[str, list[Row]]:
    """Every class of FEWEST clips in every split. Of heads, with many rare classes, those that a split has a clip of
    in proportion: a third of all clips would validate otherwise."""
    smallest = min(share for share in shares.values() if share)
    fewest = 1 / smallest if task == "heads" else FEWEST
    drawn = {name: rows for name, rows in divided.items() if name in SPLITS and shares[name]}
    if task == "regression" or len(drawn) < 2:
        return divided
    return divided | cover_by_clips(drawn, partial(_classes, task), lambda count: count >= fewest)


def _classes(task: Task, row: Row) -> list[str]:
    """The classes of a row; of several heads each by its place, as `take+*`."""
    if task == "heads":
        return _each_head(row.label) if row.label else []
    return parts(row.label) if task == "multilabel" else [row.label] if row.label else []


def _counts(size: int, shares: dict[str, float], owed: dict[str, float]) -> dict[str, int]:
    """Largest remainders, with the rounding errors so far in `owed` (updated); train gets one row of every stratum."""
    for name, share in shares.items():
        owed[name] += share * size
    counts = {name: int(share * size + 1e-9) for name, share in shares.items()}
    while sum(counts.values()) < size:
        counts[max((name for name in shares if shares[name]), key=lambda name: owed[name] - counts[name])] += 1
    if counts["train"] == 0:
        counts[max(counts, key=lambda name: counts[name])] -= 1
        counts["train"] = 1
    for name in shares:
        owed[name] -= counts[name]
    return counts


def _strata(rows: Sequence[Row], task: Task) -> dict[str, list[Row]]:
    """Rows by class; by the rarest of several classes; by tenths of the range of ranks for numbers; see `_by_heads`."""
    strata: dict[str, list[Row]] = defaultdict(list)
    if task == "regression":
        ranked = sorted(rows, key=lambda row: (_value(row.label), row.id))
        for rank, row in enumerate(ranked):
            strata[str(10 * rank // len(ranked))].append(row)
        return strata
    if task == "heads":
        return _by_heads(rows)
    names = {row.id: _classes(task, row) for row in rows}
    frequency = Counter(name for classes in names.values() for name in classes)
    for row in rows:
        strata[min(names[row.id], key=lambda name: (frequency[name], name), default="")].append(row)
    return strata


def _by_heads(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their whole label; one that no other row has, by the rarest class in it (named `take+*` or `*+plate`).

    A row that is alone there too has classes that other rows have, or else a class of its own, which training needs:
    the former are one stratum together, with no name.
    """
    counts = Counter(row.label for row in rows)
    named = {row.id: _each_head(row.label) for row in rows}
    frequency = Counter(name for names in named.values() for name in names)
    rare: dict[str, list[Row]] = defaultdict(list)
    strata: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if counts[row.label] > 1:
            strata[row.label].append(row)
        else:
            rare[min(named[row.id], key=lambda name: (frequency[name], name))].append(row)
    for name, members in rare.items():
        strata["" if len(members) == 1 and frequency[name] > 1 else name] += members
    return strata


def _each_head(label: str) -> list[str]:
    """`take+plate` -> [take+*, *+plate]."""
    names = label.split(JOIN)
    return [JOIN.join(name if i == j else "*" for j in range(len(names))) for i, name in enumerate(names)]


def _by_group(manifest: Manifest, split: Split, shares: dict[str, float], task: Task) -> dict[str, list[Row]]:
    missing = [row.id for row in manifest.rows if not row.group]
    if missing:
        raise ValueError(
            f"{manifest.path}: {len(missing)} of {len(manifest.rows)} rows have no group (such as {missing[0]!r}); "
            "fill the 'group' column, or set split.by=stratified"
        )
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in manifest.rows:
        groups[row.group].append(row)
    for name in split.test_groups:
        if name not in groups:
            raise ValueError(f"{manifest.path}: split.test_groups: {unknown('group', name, groups)}")
    test = [row for name in dict.fromkeys(split.test_groups) for row in groups.pop(name)]
    remaining = _without(shares, "test") if test else dict(shares)
    by = split.valid_by
    if by == "auto":
        by = "group" if _enough(groups, remaining) else "stratified"
        if by == "stratified" and remaining["valid"]:
            log.warning(
                "%d groups are too few for %d that validate and %d that train: valid is drawn from the clips of the "
                "training groups; set split.valid_by", len(groups), JUDGES, JUDGES,
            )  # fmt: skip
    drawn = remaining.pop("valid") if by == "stratified" else 0.0
    if drawn:
        remaining["train"] += drawn
    divided = _greedy({n: groups[n] for n in sorted(groups)}, remaining, split)
    if task != "regression":
        divided = cover_by_groups(divided, partial(_classes, task))
    divided = {"test": test, **divided}
    if drawn:
        inner = {"train": 1 - drawn / remaining["train"], "valid": drawn / remaining["train"]}
        clips = divided["train"]
        divided |= _stratified(clips, inner, task, split.seed)
        _demand(divided, inner, f"{len(clips)} rows of the training groups are too few for a valid split")
    return divided


def _enough(groups: Mapping[str, Sequence[Row]], shares: Mapping[str, float]) -> bool:
    """Whether JUDGES groups can validate while as many train, and one tests if any does."""
    return len(groups) >= 2 * JUDGES + bool(shares.get("test"))


def _greedy(groups: dict[str, list[Row]], shares: dict[str, float], split: Split) -> dict[str, list[Row]]:
    """Largest group first, each to the split that lacks most rows; every split gets at least one group, train and
    valid JUDGES if there are enough."""
    nonzero = {name: share for name, share in shares.items() if share}
    if len(groups) < len(nonzero):
        raise ValueError(
            f"a group split into {', '.join(nonzero)} needs {len(nonzero)} groups, but there "
            f"{'is' if len(groups) == 1 else 'are'} {len(groups)} ({', '.join(groups) or 'none'})"
            f"{' besides the test groups' if split.test_groups else ''}; "
            f"set {'split.valid_by=stratified (needs one fewer) or ' if 'valid' in nonzero else ''}split.by=stratified"
        )
    names = list(groups)
    np.random.default_rng([split.seed, 1]).shuffle(names)  # decides between groups of one size
    names.sort(key=lambda name: -len(groups[name]))
    total = sum(map(len, groups.values()))
    lacking = {name: share * total for name, share in nonzero.items()}
    needed = dict.fromkeys(nonzero, 1)
    if "valid" in nonzero and _enough(groups, nonzero):
        needed["train"] = needed["valid"] = JUDGES
        more = max(JUDGES * total / len(groups) - lacking["valid"], 0.0)  # taken from train, not from test
        lacking["valid"], lacking["train"] = lacking["valid"] + more, lacking["train"] - more
    divided: dict[str, list[Row]] = {name: [] for name in nonzero}
    for position, name in enumerate(names):
        short = sum(max(count, 0) for count in needed.values()) == len(names) - position
        targets = [target for target in nonzero if needed[target] > 0 or not short]
        target = max(targets, key=lambda target: lacking[target])
        divided[target] += groups[name]
        lacking[target] -= len(groups[name])
        needed[target] -= 1
    return divided


def _without(shares: dict[str, float], dropped: str) -> dict[str, float]:
    """The other shares, scaled to sum to 1."""
    rest = {name: share for name, share in shares.items() if name != dropped}
    return {name: share / sum(rest.values()) for name, share in rest.items()}


def _demand(divided: dict[str, list[Row]], shares: dict[str, float], problem: str) -> None:
    empty = [name for name, share in shares.items() if share and not divided[name]]
    if empty:
        raise ValueError(
            f"{problem}: {' and '.join(empty)} would be empty (a class with one sample goes to train); "
            "add samples, or set the share in split.fractions to 0"
        )


def _value(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")
