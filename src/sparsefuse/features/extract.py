"""A manifest of media files comes in, feature files and a new manifest that names them come out."""

import importlib.metadata
import logging
import os
import platform
import re
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sparsefuse.features import fingerprint, resolve, source_of
from sparsefuse.features._clip import Clip, make
from sparsefuse.features._made import Made, file_names, key_of
from sparsefuse.files import write_json
from sparsefuse.names import unknown
from sparsefuse.refs import FEATURES, MEDIA, TABLES, split_ref, suffix
from sparsefuse.skipped import Skip, Unusable, write_skipped
from sparsefuse.table import Table, check_ids, read_table, write_table
from sparsefuse.workers import each

_log = logging.getLogger(__name__)


class Summary(NamedTuple):
    """What a run did."""

    manifest: Path
    """the new manifest"""
    done: int
    """feature files made"""
    reused: int
    """feature files that an earlier run made in the same way"""
    skipped: list[Skip]
    """clips that gave nothing, and modalities that clips lost; the same as in skipped.jsonl"""


def extract(
    manifest: str | Path,
    out: str | Path,
    *,
    features: Mapping[str, Mapping[str, Any]] | None = None,
    jobs: int = 0,
    strict: bool = False,
    progress: bool = True,
) -> Summary:
    """Writes `<out>/<modality>/<id>.npy`, `manifest.csv`, `features.json` and `skipped.jsonl`; reuses what is there.

    `features`: {modality: {"extractor": name or path.py, "source": manifest column, ...the extractor's options}};
    without it a `video` column gives frames at 10 a second and a spectrogram, an `audio` column a spectrogram.
    `jobs`: processes; 0 = one per core, 1 = this process alone. `strict`: raise the first Unusable.
    Raises ValueError for a wrong manifest or option, OSError when the disk is full; a rerun goes on from there.
    """
    manifest, out = Path(manifest), Path(out)
    table = read_table(manifest)
    check_ids(manifest, table)
    if (out / "manifest.csv").resolve() == manifest.resolve():
        raise ValueError(f"the new manifest would replace {manifest}; choose another output folder")
    if jobs < 0:
        raise ValueError(f"jobs is {jobs}, expected 0 (one per core) or more")
    specs = _specs(table, features or _default(table), manifest)
    for column in sorted(_media_columns(table) - {spec.source for spec in specs}):
        _log.warning("column %r holds media that no feature is made from; the new manifest leaves it out", column)
    clips = _clips(table, specs, manifest.parent, out)
    made = {spec.modality: Made(out / spec.modality) for spec in specs}
    fresh = [clip for clip in clips if not made[clip.modality].has(clip)]
    try:
        reasons = _run(fresh, made, jobs, strict, progress)
    finally:
        for journal in made.values():
            journal.close()
    skipped = _write(table, specs, clips, reasons, manifest.parent, out)
    return Summary(out / "manifest.csv", len(fresh) - len(reasons), len(clips) - len(fresh), skipped)


class _Spec(NamedTuple):
    modality: str
    extractor: str
    source: str  # manifest column
    options: dict[str, Any]


def _default(table: Table) -> dict[str, dict[str, Any]]:
    media = [column for column in ("video", "audio") if column in table.columns and not table.holds(column, FEATURES)]
    if not media:
        raise ValueError(
            f"nothing to extract: no `video` or `audio` column of media files; columns: {', '.join(table.columns)}; "
            "say in `features` what to make from which column"
        )
    chosen: dict[str, dict[str, Any]] = {}
    if "video" in media:
        chosen["video"] = {"extractor": "frames", "source": "video", "rate": 10}
    if "audio" in media or "audio" not in table.columns:
        chosen["audio"] = {"extractor": "spectrogram", "source": media[-1]}
    return chosen


def _specs(table: Table, features: Mapping[str, Mapping[str, Any]], manifest: Path) -> list[_Spec]:
    specs = []
    for modality, given in features.items():
        options = dict(given)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", modality):
            raise ValueError(f"modality {modality!r}: use letters, digits, _ and - only, it names a folder")
        if "extractor" not in options:
            raise ValueError(f"modality {modality!r}: names no extractor; got {', '.join(options) or 'nothing'}")
        name = options.pop("extractor")
        named = options.pop("source", "")
        source = named or _usual_source(table, name)
        if source not in table.columns:
            hint = "" if named else "; say in `source` which column to make it from"
            raise ValueError(f"{manifest}: {unknown('column', source, table.columns)}{hint}")
        # A .csv holds features as well as readings or words: a source that is named is taken at its word.
        if table.holds(source, FEATURES - TABLES if named else FEATURES):
            hint = f"; if it is raw, say `source: {source}`" if table.holds(source, TABLES) else ""
            raise ValueError(f"{manifest}: column {source!r} holds features already, nothing to extract from it{hint}")
        specs.append(_Spec(modality, name, source, resolve(name, options)))
    for modality in features:
        if modality in _kept_columns(table, specs):
            raise ValueError(f"{manifest}: has a column {modality!r} already; give the modality another name")
    return specs


def _usual_source(table: Table, extractor: str) -> str:
    usual = source_of(extractor)
    return "video" if usual == "audio" and "audio" not in table.columns else usual  # a video has sound, too


def _clips(table: Table, specs: list[_Spec], root: Path, out: Path) -> list[Clip]:
    names = file_names([row["id"] for row in table.rows])
    clips = []
    for spec in specs:
        code = fingerprint(spec.extractor, spec.options)
        for row in table.rows:
            if not row[spec.source]:
                continue
            source = root / row[spec.source]
            key = key_of(source, code)
            target = out / spec.modality / f"{names[row['id']]}.npy"
            clips.append(Clip(row["id"], spec.modality, source, target, spec.extractor, spec.options, key))
    return clips


def _run(
    clips: list[Clip], made: dict[str, Made], jobs: int, strict: bool, progress: bool
) -> dict[tuple[str, str], str]:
    """Makes the clips' features; gives the reason for each (id, modality) that could not be made."""
    reasons: dict[tuple[str, str], str] = {}
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[skipped]} skipped"))
    bar = Progress(TextColumn("extract"), *columns, console=Console(stderr=True), disable=not progress)
    with bar, closing(each(make, clips, jobs)) as results:
        shown = bar.add_task("extract", total=len(clips), skipped=0)
        for clip, result in results:
            reason = f"{clip.source}: the decoder crashed" if result is None else result
            if not reason:
                made[clip.modality].add(clip)
            elif strict:
                raise Unusable(f"sample {clip.id}, {clip.modality}: {reason}")
            else:
                reasons[clip.id, clip.modality] = reason
            bar.update(shown, advance=1, skipped=len(reasons))
    return reasons


def _write(
    table: Table,
    specs: list[_Spec],
    clips: list[Clip],
    reasons: dict[tuple[str, str], str],
    root: Path,
    out: Path,
) -> list[Skip]:
    """Writes the new manifest, the options and the report; the manifest last, so that it vouches for the rest."""
    kept = _kept_columns(table, specs)
    carried = [column for column in kept if table.holds(column, FEATURES)]
    paths = {(c.id, c.modality): f"{c.modality}/{c.target.name}" for c in clips if (c.id, c.modality) not in reasons}
    rows, skipped = [], []
    for row in table.rows:
        files = {spec.modality: paths.get((row["id"], spec.modality), "") for spec in specs}
        files |= {column: _moved(row[column], root, out) for column in carried}
        lost = [Skip(*key, reasons[key]) for spec in specs if (key := (row["id"], spec.modality)) in reasons]
        if any(files.values()):
            rows.append({column: row[column] for column in kept} | files)
            skipped += lost
        else:
            why = "; ".join(dict.fromkeys(skip.reason for skip in lost)) or "it names no media file"
            skipped.append(Skip(row["id"], "", why))
    write_skipped(out / "skipped.jsonl", skipped)
    if not rows:
        raise Unusable(
            f"none of {len(table.rows)} samples could be used, see {out / 'skipped.jsonl'}; {skipped[0].reason}"
        )
    write_json(out / "features.json", {"features": {s.modality: _record(s) for s in specs}, "versions": _versions()})
    modalities = [spec.modality for spec in specs if any(row[spec.modality] for row in rows)]
    for spec in specs:
        if spec.modality not in modalities:
            _log.warning("no sample has %r: the new manifest leaves it out", spec.modality)
    columns = list(dict.fromkeys(["id", *modalities, *carried, *kept]))
    write_table(out / "manifest.csv", [{column: row[column] for column in columns} for row in rows])
    return skipped


def _kept_columns(table: Table, specs: list[_Spec]) -> list[str]:
    """Columns that go into the new manifest as they are: all but those of media files."""
    dropped = {spec.source for spec in specs} | _media_columns(table)
    return [column for column in table.columns if column not in dropped]


def _media_columns(table: Table) -> set[str]:
    return {column for column in table.columns if table.holds(column, MEDIA)}


def _moved(ref: str, old: Path, new: Path) -> str:
    """A reference relative to the folder `old` as one relative to the folder `new`."""
    name, key = split_ref(ref)
    if suffix(ref) not in FEATURES or os.path.isabs(name):
        return ref  # a cell such as `n/a` is no path
    name = Path(os.path.relpath(old.resolve() / name, new.resolve())).as_posix()
    return f"{name}#{key}" if key else name


def _record(spec: _Spec) -> dict[str, Any]:
    return {"extractor": spec.extractor, "source": spec.source, **spec.options}


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("sparsefuse", "numpy", "torch", "av"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
