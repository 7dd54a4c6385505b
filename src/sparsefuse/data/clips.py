"""The data of a run: three datasets, and the sizes and statistics of the training split."""

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from sparsefuse.config import Data
from sparsefuse.data.augment import check_names
from sparsefuse.data.check.balance import odd_classes, odd_names
from sparsefuse.data.check.leaks import same_features, same_groups
from sparsefuse.data.check.report import in_order
from sparsefuse.data.check.rules import RULES, Problem
from sparsefuse.data.checked import Checked
from sparsefuse.data.classes import read_class_lists
from sparsefuse.data.dataset import ClipDataset
from sparsefuse.data.fingerprint import Fingerprint, fingerprints
from sparsefuse.data.grids import patches_in
from sparsefuse.data.labels import Labels, task_of
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.manifest import Manifest, read_manifest
from sparsefuse.data.prepare import prepare, watched
from sparsefuse.data.reading import Reading
from sparsefuse.data.split import division, split_rows
from sparsefuse.data.stats import Stats, measure
from sparsefuse.files.skipped import Skip
from sparsefuse.files.typed import from_json
from sparsefuse.files.whole import read_lines

log = logging.getLogger(__name__)

_TOLD: ContextVar[Collection[str]] = ContextVar("told", default=())


class Clips(NamedTuple):
    """The three splits, and the sizes, labels and statistics that were measured on the training split."""

    splits: dict[str, ClipDataset]
    """train, valid, test"""
    sizes: dict[str, list[int]]
    """split -> tokens per sample, over its modalities; what length buckets sort by"""
    labels: Labels
    features: dict[str, int]
    """modality -> F"""
    longest: dict[str, int]
    """modality -> largest N among the training clips"""
    tokens: dict[str, int]
    """modality -> N summed over the training clips"""
    typical: dict[str, int]
    """modality -> median N among the training clips"""
    stored: dict[str, int]
    """the same of their files, before streams are cut or resampled"""
    stats: Stats | None
    skips: list[Skip]
    problems: list[Problem]
    """what `check` says of leaks and of the names of classes"""
    seen: list[str]
    """hashes of the training and validation clips' contents (see `contents.hash_of`)"""

    @property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """split -> fingerprint of its clips and labels."""
        return fingerprints({name: data.rows for name, data in self.splits.items()})


def load_clips(data: Data, root: Path) -> Clips:
    """Reads the manifest, splits it and checks every file; `data`'s paths are relative to `root`."""
    manifest = read_manifest(
        root / data.manifest,
        label=data.label,
        separator=data.separator,
        modalities=data.modalities,
        group=data.group,
    )
    task = task_of(data.task, (row.label for row in manifest.rows), manifest.labels)
    rows = split_rows(manifest, data.split, task)
    fit = Lengths.of(data, patches_in(manifest.root))
    known, reading = Checked(manifest.path), Reading(fit, measured=data.normalise)
    prepared = prepare(
        rows,
        manifest.root,
        modalities=manifest.modalities,
        task=task,
        columns=manifest.labels,
        lists=read_class_lists(data.classes, root, manifest.labels),
        fit=fit,
        strict=data.strict,
        read=partial(reading.shapes, known),
    )
    check_names(data, prepared.features)
    problems = same_features(prepared.rows, prepared.features, prepared.hashes)
    if division(data.split, manifest.rows) != "group":
        problems += same_groups(prepared.rows)
    problems += odd_names("groups", sorted({row.group for row in manifest.rows} - {""}))
    judged = [row for split in ("train", "valid") for row in prepared.rows[split]]

    def dataset(split: str, stats: Stats | None, cache_mb: int) -> ClipDataset:
        return ClipDataset(
            prepared.rows[split],
            prepared.labels,
            manifest.root,
            modalities=tuple(prepared.features),
            stats=stats,
            fit=fit if split == "train" else fit.scored(data.windows),
            cache_mb=cache_mb,
        )

    train = [(name, row.files[name]) for row in prepared.rows["train"] for name in sorted(row.files)]
    stored: dict[str, list[int]] = {name: [] for name in prepared.features}
    for name, ref in train:
        stored[name].append(reading.lengths[ref])
    lengths = {name: [fit.after(name, count) for count in counts] for name, counts in stored.items()}

    def measured() -> Stats:
        if reading.train(prepared.features) == train:
            return reading.moments.stats(prepared.features)
        raw = dataset("train", None, 0)  # of some clips that were read, or known, the label is unusable
        return measure(raw[i] for i in watched(range(len(raw)), "measuring features"))

    stats = known.stats(train, repr(fit), measured) if data.normalise else None
    known.save()
    return Clips(
        splits={split: dataset(split, stats, data.cache_mb // 3) for split in prepared.rows},
        sizes=prepared.lengths,
        labels=prepared.labels,
        features=prepared.features,
        longest={name: max(counts) for name, counts in lengths.items()},
        tokens={name: sum(counts) for name, counts in lengths.items()},
        typical={name: round(median(counts)) for name, counts in lengths.items()},
        stored={name: round(median(counts)) for name, counts in stored.items()},
        stats=stats,
        skips=[*lost_before(manifest, prepared.features), *prepared.skips],
        problems=in_order([*problems, *odd_classes(prepared.labels)]),
        seen=sorted({prepared.hashes[ref] for row in judged for ref in row.files.values()} - {""}),
    )


def lost_before(manifest: Manifest, features: Collection[str]) -> list[Skip]:
    """What was left out when the manifest was made, as skipped.jsonl beside it says: clips that it does not name, and
    modalities of clips that it names."""
    path = manifest.root / "skipped.jsonl"
    skips = [from_json(Skip, line, f"{path}, line {i}") for i, line in enumerate(read_lines(path), 1)]
    named = {row.id for row in manifest.rows}
    return [s for s in skips if (s.modality in features if s.id in named else not s.modality)]


@contextmanager
def told(kinds: Collection[str]) -> Iterator[None]:
    """Within, `tell_problems` logs no problem of these kinds: `check` has."""
    token = _TOLD.set(kinds)
    try:
        yield
    finally:
        _TOLD.reset(token)


def tell_problems(problems: Iterable[Problem], leaks: Literal["stop", "warn"]) -> None:
    """Logs a line for each kind of problem; with "stop", raises ValueError for those that `check` calls errors."""
    for kind, found in _by_kind(problems).items():
        text = _text_of(kind, found)
        if found[0].severity == "error" and leaks == "stop":
            raise ValueError(f"{text}; {RULES[kind].fix}, or set data.leaks=warn (sparsefuse check lists all)")
        if kind not in _TOLD.get():
            log.warning("%s; sparsefuse check lists all", text)


def leaks_in(problems: Iterable[Problem]) -> list[str]:
    """A line for each kind of what is in two splits, so that the scores of a run on it are too good."""
    kinds = _by_kind(problem for problem in problems if problem.kind.startswith("leak-"))
    return [f"scores may be too good: {_text_of(kind, found)}" for kind, found in kinds.items()]


def _by_kind(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.kind, []).append(problem)
    return kinds


def _text_of(kind: str, found: list[Problem]) -> str:
    return f"{kind}: {found[0].message}{f', and {len(found) - 1} more' if len(found) > 1 else ''}"
