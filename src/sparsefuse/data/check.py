"""`sparsefuse check`: a data configuration in, a report of sizes, balance and problems out."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from sparsefuse.config import Data
from sparsefuse.data.arrays import read_array
from sparsefuse.data.classes import read_class_lists
from sparsefuse.data.labels import Labels, task_of
from sparsefuse.data.lengths import Lengths
from sparsefuse.data.manifest import Row, read_manifest
from sparsefuse.data.prepare import Prepared, prepare, watched
from sparsefuse.data.split import split_rows

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20
"""Problems of one kind that `show` prints; the report holds all."""


class Problem(NamedTuple):
    """One finding. An error loses data or makes results untrue; a warning may be intended."""

    severity: Literal["error", "warning"]
    kind: str
    message: str


class Spread(NamedTuple):
    """Smallest, median and largest of a size."""

    min: float
    median: float
    max: float


class Size(NamedTuple):
    """One modality: how many usable samples have it, their tokens N, and its features F."""

    samples: int
    tokens: Spread
    features: int


class Report(NamedTuple):
    """What `check` found; `to_json` gives plain types."""

    manifest: str
    rows: int
    modalities: dict[str, Size]
    balance: dict[str, dict[str, int]]
    """split -> class -> samples; classes of several heads as `verb:take`; for regression the one class is `all`"""
    problems: list[Problem]

    def to_json(self) -> dict[str, Any]:
        """As plain dicts and lists."""
        sizes = {name: {**size._asdict(), "tokens": size.tokens._asdict()} for name, size in self.modalities.items()}
        return {**self._asdict(), "modalities": sizes, "problems": [p._asdict() for p in self.problems]}


class _Contents(NamedTuple):
    lengths: dict[str, list[int]]
    same: dict[tuple[str, str], list[str]]  # (modality, hash of the values) -> ids
    constant: dict[str, list[int]]  # modality -> columns


def check(data: Data, root: Path) -> Report:
    """Reads everything the configuration names; `root` is the folder that its paths are relative to.

    Raises FileNotFoundError or ValueError when the manifest itself cannot be read. All else is a problem in the report.
    """
    path = root / data.manifest
    manifest = read_manifest(path, label=data.label, modalities=data.modalities)
    try:
        task = task_of(data.task, (row.label for row in manifest.rows), manifest.labels)
        splits = split_rows(manifest, data.split, task)
        prepared = prepare(
            splits,
            manifest.root,
            modalities=manifest.modalities,
            task=task,
            columns=manifest.labels,
            lists=read_class_lists(data.classes, root, manifest.labels),
            fit=Lengths.of(data),
        )
    except ValueError as error:
        return Report(str(path), len(manifest.rows), {}, {}, [Problem("error", "unusable", str(error))])
    contents = _read(prepared, manifest.root)
    sizes = {
        name: Size(len(lengths), Spread(min(lengths), median(lengths), max(lengths)), prepared.features[name])
        for name, lengths in contents.lengths.items()
    }
    balance = {split: _classes(rows, prepared.labels) for split, rows in prepared.rows.items()}
    problems = [Problem("error", "skipped", f"sample {skip.id}: {skip.reason}") for skip in prepared.skips]
    problems += _leaks(splits, prepared.rows, contents)
    problems += _constant(prepared.features, contents)
    problems += _imbalance(balance, prepared.labels)
    return Report(str(path), len(manifest.rows), sizes, balance, problems)


def show(report: Report, console: "Console | None" = None) -> None:
    """Prints the report as tables, with a count of errors and warnings at the end."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    sizes = Table(title=f"{report.manifest}: {report.rows} samples", title_justify="left")
    for name in ("modality", "samples", "tokens min", "median", "max", "features"):
        sizes.add_column(name, justify="left" if name == "modality" else "right")
    for name, size in report.modalities.items():
        sizes.add_row(name, str(size.samples), *(f"{n:g}" for n in size.tokens), str(size.features))
    console.print(sizes)
    classes = Table("class", *report.balance, title="samples per class", title_justify="left")
    for name in sorted({name for counts in report.balance.values() for name in counts}):
        classes.add_row(name, *(str(counts.get(name, 0)) for counts in report.balance.values()))
    console.print(classes)
    printed: Counter[str] = Counter()
    for problem in report.problems:
        printed[problem.kind] += 1
        if printed[problem.kind] <= SHOWN:
            console.print(f"{problem.severity}: {problem.message}", markup=False, highlight=False)
    for kind, count in printed.items():
        if count > SHOWN:
            console.print(f"... and {count - SHOWN} more of kind {kind}")
    found = Counter(problem.severity for problem in report.problems)
    console.print(f"{found['error']} errors, {found['warning']} warnings")


def _read(prepared: Prepared, root: Path) -> _Contents:
    lengths: dict[str, list[int]] = {name: [] for name in prepared.features}
    same: dict[tuple[str, str], list[str]] = defaultdict(list)
    low = {name: np.full(width, np.inf, np.float32) for name, width in prepared.features.items()}
    high = {name: -x for name, x in low.items()}
    for row in watched([row for rows in prepared.rows.values() for row in rows], "reading contents"):
        for name, ref in row.files.items():
            values = read_array(ref, root)
            lengths[name].append(len(values))
            same[name, hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()].append(row.id)
            low[name] = np.minimum(low[name], values.min(0))
            high[name] = np.maximum(high[name], values.max(0))
    constant = {name: np.flatnonzero(low[name] == high[name]).tolist() for name in low if lengths[name]}
    return _Contents({n: found for n, found in lengths.items() if found}, same, constant)


def _constant(features: Mapping[str, int], contents: _Contents) -> list[Problem]:
    return [
        Problem(
            "warning",
            "constant",
            f"{name}: {len(columns)} of {features[name]} features never change: columns {_some(columns)} (from 0)",
        )
        for name, columns in contents.constant.items()
        if columns
    ]


def _leaks(
    splits: Mapping[str, Sequence[Row]], usable: Mapping[str, Sequence[Row]], contents: _Contents
) -> list[Problem]:
    """Equal contents and shared groups; equal contents cover the same file under two names too."""
    problems = []
    where = {row.id: split for split, rows in usable.items() for row in rows}
    for (name, _), ids in contents.same.items():
        if len(ids) > 1:
            found = sorted({where[i] for i in ids})
            leak = len(found) > 1
            message = f"{name}: {len(ids)} samples have the same contents ({_some(ids)})"
            message += f" and are in several splits: {', '.join(found)}" if leak else f", all in {found[0]}"
            problems.append(Problem("error" if leak else "warning", "leak" if leak else "duplicate", message))
    for one, other in combinations(splits, 2):
        shared = sorted({r.group for r in splits[one]} & {r.group for r in splits[other]} - {""})
        if shared:
            message = f"{len(shared)} groups are in both {one} and {other} ({_some(shared)}); split.by=group parts them"
            problems.append(Problem("warning", "leak", message))
    return problems


def _classes(rows: Sequence[Row], labels: Labels) -> dict[str, int]:
    if labels.task == "regression":
        return {"all": len(rows)}
    counts = Counter(i for row in rows for i in set(labels.indices(row.label)))
    return {name: counts[i] for i, name in enumerate(labels.classes)}


def _imbalance(balance: Mapping[str, Mapping[str, int]], labels: Labels) -> list[Problem]:
    """Classes that a split lacks, and classes of one head that training has far more of than of others."""
    problems = []
    for split, counts in balance.items():
        absent = [name for name, count in counts.items() if not count]
        if absent and sum(counts.values()):
            message = f"{split} has no sample of {len(absent)} of {len(counts)} classes: {_some(absent)}"
            problems.append(Problem("warning", "balance", message))
    for span in labels.groups.values():
        train = {labels.classes[i]: count for i in span if (count := balance.get("train", {}).get(labels.classes[i]))}
        if train and max(train.values()) >= 10 * min(train.values()):
            most, least = max(train, key=train.__getitem__), min(train, key=train.__getitem__)
            message = f"classes are uneven in train: {most!r} has {train[most]} samples, {least!r} has {train[least]}"
            problems.append(Problem("warning", "balance", message))
    return problems


def _some(names: Iterable[Any]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")
