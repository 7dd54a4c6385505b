"""`sparsefuse check`: a data configuration in, a report of sizes, balance and problems out.

The rules are in `rules`; docs/data-format.md explains them.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from sparsefuse.config import Data
from sparsefuse.data.check.balance import balance, imbalance, odd_classes, odd_names
from sparsefuse.data.check.columns import columns_of, times_as_features
from sparsefuse.data.check.files import Features, Files, ReadTable
from sparsefuse.data.check.footage import footage, odd_media
from sparsefuse.data.check.groups import groups_of, odd_groups
from sparsefuse.data.check.ids import bad_ids, some
from sparsefuse.data.check.leaks import leaks
from sparsefuse.data.check.lengths import odd_lengths, odd_rates, seconds_of, tokens_of
from sparsefuse.data.check.report import Histogram, Report, Size, Spread, in_order
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.check.screen import show
from sparsefuse.data.check.segments import Segments, outside, read_segments
from sparsefuse.data.check.values import odd_values
from sparsefuse.data.classes import read_class_lists
from sparsefuse.data.contents import Fault, Span
from sparsefuse.data.grids import patches_in
from sparsefuse.data.labels import task_of
from sparsefuse.data.lengths import WHOLE, Lengths
from sparsefuse.data.manifest import JOIN, Manifest, Row, read_manifest
from sparsefuse.data.prepare import Prepared, prepare
from sparsefuse.data.split import split_rows
from sparsefuse.data.stems import Proposal, made_by, stems_for
from sparsefuse.files.references import FEATURES, FILES, TABLES
from sparsefuse.files.rows import Table, numbered, read_table
from sparsefuse.metrics import Task

__all__ = ["Problem", "Report", "Size", "Spread", "check", "show"]


def check(
    data: Data, root: Path, *, jobs: int = 0, tables: Mapping[str, ReadTable | None] = MappingProxyType({})
) -> Report:
    """Reads everything the configuration names; `root` is the folder that its paths are relative to.

    `jobs`: processes that probe media; 0 = one per core, 1 = this one alone, which a broken file may crash. `tables`:
    columns of sensor files that `extract` would make features of, and what reads them (None: not read here).
    Raises FileNotFoundError if the manifest, or a list of classes, is missing. All else is a problem in the report.
    """
    path = root / data.manifest
    num_rows = 0
    try:
        given = read_table(path)
        table = numbered(given)
        num_rows = len(table.rows)
        problems = bad_ids(table)
        if problems:
            return Report(str(path), num_rows, problems=problems)
        modalities = data.modalities
        if not modalities and any(map(tables.get, table.columns)):  # sensors' files may have any suffix
            modalities = [name for name in table.columns if tables.get(name) or table.holds(name, FILES)]
        texts = [name for name in _texts(table, data) if not tables.get(name)]
        if not modalities and texts:
            modalities = [*(name for name in table.columns if table.holds(name, FILES)), *texts]
        manifest = read_manifest(
            path, label=data.label, separator=data.separator, modalities=modalities, group=data.group
        )
    except ValueError as error:
        return Report(str(path), num_rows, problems=[broken("manifest", str(error))])
    segments = read_segments(table)
    files = Files(manifest.rows, manifest.modalities, tables, texts)
    spans = {id: Span(part.start, None if part.end == math.inf else part.end) for id, part in segments.of.items()}
    files.read(manifest.root, jobs, spans)
    problems = [
        *segments.problems,
        *outside(segments.of, files),
        *_faults(files),
        *_notes(files, manifest, bool(tables)),
        *times_as_features(files, manifest),
    ]
    problems += [*odd_lengths(files, segments.of), *odd_rates(files, segments.of), *odd_media(files)]
    problems += odd_names("groups", sorted({row.group for row in manifest.rows} - {""}))
    counts: dict[str, dict[str, int]] = {}
    sizes: dict[str, Size] = {}
    groups: dict[str, list[str]] = {}
    proposals: dict[str, Proposal] = {}
    try:
        task = task_of(data.task, (row.label for row in manifest.rows), manifest.labels)
        splits = split_rows(manifest, data.split, task)
        problems += [*leaks(splits, files, segments.of, manifest.root), *odd_groups(splits, files)]
        groups = groups_of(splits)
        prepared = _prepared(splits, manifest, files, data, task, root)
        made = made_by(manifest.root)
    except ValueError as error:
        problems.append(broken("unusable", str(error)))
    else:
        problems += _skips(prepared, files, manifest)
        counts = balance(prepared.rows, prepared.labels)
        problems += [*imbalance(counts, prepared.labels), *odd_classes(prepared.labels)]
        if files.features:
            problems += [*_constant(prepared, files), *odd_values(files, prepared.features)]
            sizes = _sizes(prepared, files)
            usual = {name: size.tokens.median for name, size in sizes.items()}
            proposals = stems_for(usual, {name: size.features for name, size in sizes.items()}, made)
    return Report(
        str(path),
        len(manifest.rows),
        sizes,
        footage(files),
        counts,
        _histograms(files, segments),
        in_order(problems),
        groups,
        columns_of(given, manifest, files),
        {name: proposal for name, proposal in proposals.items() if proposal.stem},
    )


def _texts(table: Table, data: Data) -> list[str]:
    """Columns of sentences, where there are no features yet: beside these they are notes."""
    if any(table.holds(name, FEATURES - TABLES) for name in table.columns):
        return []
    others = (data.label, *data.label.split(JOIN), data.group)
    return [name for name in table.columns if table.is_text(name) and name not in others]


def _prepared(
    splits: dict[str, list[Row]], manifest: Manifest, files: Files, data: Data, task: Task, root: Path
) -> Prepared:
    """What training would use; of a manifest of media alone, what could be extracted."""
    return prepare(
        splits,
        manifest.root,
        modalities=files.features
        if files.made
        else [*files.features, *files.media, *([] if files.features else files.unread)],
        task=task,
        columns=manifest.labels,
        lists=read_class_lists(data.classes, root, manifest.labels),
        fit=Lengths.of(data, patches_in(manifest.root)) if files.features else WHOLE,
        read=files.shapes,
        media=True,
    )


def _faults(files: Files) -> list[Problem]:
    """Files that cannot be used."""
    problems = []
    for row, _, ref in files.cells([*files.features, *files.media]):
        content = files.of_features.get(ref) or files.of_media.get(ref)
        if isinstance(content, Fault):
            columns = f"; columns {some(content.columns)}" if content.columns else ""
            problems.append(broken(content.kind, f"sample {row.id}: {content.reason}{columns}", row.id))
    return problems


def _skips(prepared: Prepared, files: Files, manifest: Manifest) -> list[Problem]:
    """What training would leave out, except for the files that `_faults` reports."""
    refs = {row.id: row.files for row in manifest.rows}
    problems = []
    for skip in prepared.skips:
        if not skip.modality:
            kind = "dropped" if skip.reason == "no usable modality" else "label"
        elif isinstance(files.of_features.get(refs[skip.id][skip.modality]), Features):
            kind = "width"
        else:
            continue
        problems.append(broken(kind, f"sample {skip.id}: {skip.reason}", skip.id))
    return problems


def _notes(files: Files, manifest: Manifest, extracting: bool) -> list[Problem]:
    """Findings that are not problems: missing modalities, columns of media, clips that extraction left out."""
    problems = []
    if extracting or files.media:
        problems += [
            broken("table", f"column {name!r} holds .csv files that no extractor reads; all their columns are features")
            for name in sorted(files.csv.intersection(files.made))
        ]
    for row, _, ref in files.cells(files.tables):
        content = files.of_features[ref]
        if isinstance(content, Features):
            problems += [broken("clock", f"sample {row.id}: {ref}: {note}", row.id) for note in content.notes]
    if files.made:
        problems += [
            broken("media", f"column {name!r} holds media, not features, and is left out of training")
            for name in files.media
        ]
    for name in manifest.modalities:
        lacking = [row.id for row in manifest.rows if name not in row.files]
        if lacking:
            message = f"{name}: {len(lacking)} of {len(manifest.rows)} samples have none ({some(lacking)})"
            problems.append(broken("gaps", message, *lacking))
    skipped = manifest.root / "skipped.jsonl"
    if skipped.is_file() and (count := len(skipped.read_text(encoding="utf-8").splitlines())):
        problems.append(broken("skipped", f"{skipped} names {count} clips or modalities that extraction left out"))
    return problems


def _constant(prepared: Prepared, files: Files) -> list[Problem]:
    problems = []
    for name, width in prepared.features.items():
        low, high = files.extremes[name, width]
        columns = np.flatnonzero(low == high).tolist()
        if columns:
            message = f"{name}: {len(columns)} of {width} features never change: columns {some(columns)} (from 0)"
            problems.append(broken("constant", message))
    return problems


def _sizes(prepared: Prepared, files: Files) -> dict[str, Size]:
    tokens: dict[str, list[int]] = {name: [] for name in prepared.features}
    for row in (row for part in prepared.rows.values() for row in part):
        for name, ref in row.files.items():
            tokens[name].append(files.shape(ref).length)
    return {name: Size(len(n), Spread.of(n), prepared.features[name]) for name, n in tokens.items() if n}


def _histograms(files: Files, segments: Segments) -> dict[str, Histogram]:
    measured = {name: list(tokens_of(files, name).values()) for name in files.features}
    measured |= {name: list(seconds_of(files, [name], segments.of).values()) for name in files.media}
    return {name: Histogram.of(values) for name, values in measured.items() if values}
