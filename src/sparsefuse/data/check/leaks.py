"""Clips that are in several splits (leaks) or twice in one (duplicates)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from sparsefuse.data.check.files import Features, Files
from sparsefuse.data.check.ids import some
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.check.segments import Segment
from sparsefuse.data.contents import hash_file, media_path
from sparsefuse.data.manifest import Row
from sparsefuse.data.prepare import watched
from sparsefuse.media.probe import Probe


class _Use(NamedTuple):
    """One row's use of a file."""

    row: Row
    split: str
    ref: str
    segment: Segment


def leaks(
    splits: Mapping[str, Sequence[Row]], files: Files, segments: Mapping[str, Segment], root: Path
) -> list[Problem]:
    """Equal files, equal contents and shared groups."""
    where = {row.id: split for split, rows in splits.items() for row in rows}
    found = {ref: content.hash for ref, content in files.of_features.items() if isinstance(content, Features)}
    problems = []
    for name in files.features:
        problems += same_features(splits, [name], found, segments if name in files.tables else {})
    hashes = _hashes(files, root)
    for name in files.media:
        same: dict[str, list[_Use]] = defaultdict(list)
        for row, _, ref in files.cells([name]):
            if row.id in where and isinstance(files.of_media.get(ref), Probe):
                same[hashes.get(ref, ref)].append(_Use(row, where[row.id], ref, segments.get(row.id, Segment())))
        problems += _judged(name, same.values())
    return problems + same_groups(splits)


def same_features(
    splits: Mapping[str, Sequence[Row]],
    columns: Iterable[str],
    hashes: Mapping[str, str],
    segments: Mapping[str, Segment] = MappingProxyType({}),
) -> list[Problem]:
    """Equal features; `hashes`: reference -> that of its contents, or empty (see `contents.hash_of`)."""
    problems = []
    for name in columns:
        same: dict[str, list[_Use]] = defaultdict(list)
        for split, rows in splits.items():
            for row in rows:
                ref = row.files.get(name, "")
                if hash := hashes.get(ref):
                    same[hash].append(_Use(row, split, ref, segments.get(row.id, Segment())))
        problems += _judged(name, same.values())
    return problems


def _hashes(files: Files, root: Path) -> dict[str, str]:
    """Media reference -> hash of the file's bytes, only of files that have the size of another."""
    sizes: dict[int, list[str]] = defaultdict(list)
    for ref, content in files.of_media.items():
        if isinstance(content, Probe):
            sizes[content.bytes].append(ref)
    alike = [ref for refs in sizes.values() if len(refs) > 1 for ref in refs]
    return {ref: hash_file(media_path(ref, root)) for ref in watched(alike, "comparing files")}


def _judged(column: str, same: Iterable[list[_Use]]) -> list[Problem]:
    return [problem for uses in same if len(uses) > 1 for problem in _judge(column, uses)]


def _judge(column: str, uses: list[_Use]) -> list[Problem]:
    """Of rows whose file has the same contents: whether the same part is in two splits, or twice in one."""
    crossing, repeated = _overlaps(uses)
    splits = sorted({use.split for use in uses})
    refs = list(dict.fromkeys(use.ref for use in uses))
    ids = [use.row.id for use in uses]
    what = f"{column}: {len(uses)} samples ({some(ids)})"
    labels = {use.row.label for use in uses}
    also = f"; their labels differ: {some(sorted(labels), 3)}" if len(labels) > 1 else ""
    if crossing:
        by_ref: dict[str, set[str]] = defaultdict(set)
        for use in uses:
            by_ref[use.ref].add(use.split)
        shared = [ref for ref, used_in in by_ref.items() if len(used_in) > 1]
        if shared:
            message = f"{what} have the same file {some(shared, 2)} and are in several splits: {', '.join(splits)}"
            return [broken("leak-file", message + also, *ids)]
        message = f"{what} have the same contents ({some(refs, 2)}) and are in several splits: {', '.join(splits)}"
        return [broken("leak-content", message + also, *ids)]
    if len(splits) > 1:
        message = f"{what} are cut out of the same recording {some(refs, 2)} and are in {' and '.join(splits)}"
        return [broken("leak-group", message, *ids)]
    if repeated:
        message = f"{what} have the same contents ({some(refs, 2)}), all in {splits[0]}"
        return [broken("duplicate", message + also, *ids)]
    return []


def _overlaps(uses: list[_Use]) -> tuple[bool, bool]:
    """Whether parts of different splits overlap, and whether parts of one split are the same."""
    ends: dict[str, float] = {}
    crossing = False
    for use in sorted(uses, key=lambda use: use.segment):
        crossing |= any(end > use.segment.start for split, end in ends.items() if split != use.split)
        ends[use.split] = max(ends.get(use.split, 0.0), use.segment.end)
    return crossing, len({(use.split, use.segment) for use in uses}) < len(uses)


def same_groups(splits: Mapping[str, Sequence[Row]]) -> list[Problem]:
    """Groups in two splits."""
    problems = []
    for one, other in combinations(splits, 2):
        shared = sorted({r.group for r in splits[one]} & {r.group for r in splits[other]} - {""})
        if shared:
            message = f"groups in both {one} and {other}: {len(shared)} ({some(shared)})"
            problems.append(broken("leak-group", message))
    return problems
