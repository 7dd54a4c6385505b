"""Extracts the features of a manifest's media files; writes feature files and a new manifest that names them."""

import logging
import os
import platform
import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sparsefuse.config import Usual
from sparsefuse.errors import unknown
from sparsefuse.extras import versions
from sparsefuse.features import PLACE, Patched, build, check_specs, fingerprint, resolve, source_of, with_files
from sparsefuse.features._default import default_features
from sparsefuse.features._plan import Plan, Spec, parts_of
from sparsefuse.features._run import Reasons, run
from sparsefuse.files.allowed import allowed
from sparsefuse.files.located import relative
from sparsefuse.files.lock import in_use
from sparsefuse.files.references import FEATURES, MEDIA, TABLES, split_ref, suffix
from sparsefuse.files.rows import Table, check_ids, numbered, read_table, unread_times, write_table
from sparsefuse.files.skipped import Skip, Unusable, write_skipped
from sparsefuse.files.whole import write_json
from sparsefuse.media import FileRequest, MediaLimits
from sparsefuse.media.fetch import check_protocol, is_url

_log = logging.getLogger(__name__)
Engine = Literal["local", "ray"]


class Summary(NamedTuple):
    """The result of a run."""

    manifest: Path
    """the new manifest"""
    done: int
    """modalities of clips that were extracted"""
    reused: int
    """modalities of clips that an earlier run extracted in the same way"""
    skipped: list[Skip]
    """clips without any features, and modalities that failed; the same as in skipped.jsonl"""

    def __str__(self) -> str:
        text = f"{self.done} made, {self.reused} reused, {len(self.skipped)} skipped -> {self.manifest}"
        if not self.skipped:
            return text
        first = self.skipped[0]
        return f"{text}\nskipped: see {self.manifest.parent / 'skipped.jsonl'}; the first is {first.id}: {first.reason}"


def extract(
    manifest: str | Path,
    out: str | Path,
    *,
    features: Mapping[str, Mapping[str, Any]] | Usual | None = None,
    jobs: int = 0,
    strict: bool = False,
    progress: bool = True,
    engine: Engine = "local",
    device: str = "auto",
    timeout: float = 600.0,
    max_minutes: float = 60.0,
    max_gb: float = 20.0,
    max_frames_gb: float = 4.0,
    roots: Sequence[str | Path] | None = None,
    sentences: Collection[str] = (),
) -> Summary:
    """Writes `<out>/<modality>/00000.safetensors` ..., of large clips `00000/<clip>.safetensors`, `manifest.csv`,
    `features.json` and `skipped.jsonl`; reuses what exists.

    `features`: {modality: {"extractor": name or path.py, "source": manifest column, ...the extractor's options}};
    without it, or "raw", films give frames and a spectrogram, sound a spectrogram, text its words; "auto" takes
    pretrained encoders that are installed in their place, "raw,auto" both. Of a row with `start` or `end`
    (seconds) that part of the film is read; with "whole": true, all of it. `jobs`: processes;
    0 = one per core, 1 = this process alone, without a time-out. `strict`: raise the first Unusable. `device`, of
    extractors that are models, in place of that in their options: cpu, cuda ...; auto = leave it. `timeout`: seconds
    of work on a clip; `max_minutes`, `max_gb`: of a film; `max_frames_gb`: of a clip's frames in memory. With `roots`
    no URL is fetched, and no file is read that lies neither in the manifest's folder nor in one of these. `sentences`:
    columns whose .txt files are of one row each, so that they are read whole, as sentences in a manifest's cells are.
    Raises Unusable if a modality of `features` was made of no clip, ValueError for a wrong manifest or option,
    FileExistsError when another process fills `out`, OSError when the disk is full; a rerun continues from there.
    """
    manifest, out = Path(manifest), Path(out)
    table = numbered(read_table(manifest))
    check_ids(manifest, table)
    if (out / "manifest.csv").resolve() == manifest.resolve():
        raise ValueError(f"the new manifest would replace {manifest}; choose another output folder")
    if jobs < 0:
        raise ValueError(f"jobs is {jobs}, expected 0 (one per core) or more")
    asked, usual = ({}, features) if isinstance(features, str) else (features or {}, "raw")
    specs = _specs(table, asked or _usual(table, manifest.parent, usual), manifest, sentences)
    parts = parts_of(manifest, table)
    _check_parts(manifest, specs, any(parts))
    _check_device(specs, device)
    limits = _limits(timeout=timeout, max_minutes=max_minutes, max_gb=max_gb, max_frames_gb=max_frames_gb)
    roots = allowed() if roots is None else roots
    if roots is None:
        _check_urls(table, specs)
    else:
        limits = limits._replace(roots=tuple(map(str, (manifest.parent, *roots))))
    for column in sorted(_media_columns(table) - {spec.source for spec in specs}):
        _log.warning(
            "column %r holds media, but no features are extracted from it; the new manifest leaves it out", column
        )
    for column in table.columns:
        if column in _kept_columns(table, specs) and table.holds(column, TABLES):
            hint = f"if they are readings, make features of them with source: {column}"
            _log.warning("column %r holds .csv files, kept as features: all their columns; %s", column, hint)
    if unread := unread_times(table):
        names = ", ".join(map(repr, unread))
        _log.warning(
            "columns %s do not cut clips out of files; columns `start` and `end`, in seconds, do: rename them", names
        )
    with in_use(out):
        plan = Plan(table, parts, specs, manifest.parent, out, limits)
        reasons = run(plan, jobs=jobs, engine=engine, timeout=timeout, strict=strict, progress=progress, device=device)
        skipped = _write(table, specs, plan, reasons, manifest.parent, out, set(asked))
        plan.finish()
    return Summary(out / "manifest.csv", plan.total - plan.reused - len(reasons), plan.reused, skipped)


def _limits(**given: float) -> MediaLimits:
    """In seconds and bytes. Raises ValueError for one that is not above 0."""
    for name, value in given.items():
        if not value > 0:
            raise ValueError(f"{name} is {value}, expected a number above 0")
    return MediaLimits(60 * given["max_minutes"], 1e9 * given["max_gb"], 1e9 * given["max_frames_gb"])


def _usual(table: Table, root: Path, usual: Usual) -> dict[str, dict[str, Any]]:
    chosen = default_features(table, root, usual)
    if not chosen:
        hint = ""
        if tables := [column for column in table.columns if table.holds(column, TABLES)]:
            flags = f"--features.imu.extractor series --features.imu.source {tables[0]}"
            hint = f"if {tables[0]!r} holds readings: {flags}; else "
        raise ValueError(
            f"nothing to extract: no column of media files; columns: {', '.join(table.columns)}; "
            f"{hint}say in `features` what to make from which column"
        )
    for name, spec in chosen.items():
        _log.info("%s: made by %s from column %r", name, spec["extractor"], spec["source"])
    return chosen


def _specs(
    table: Table, features: Mapping[str, Mapping[str, Any]], manifest: Path, sentences: Collection[str]
) -> list[Spec]:
    specs = []
    check_specs(features)
    for modality, entry in features.items():
        options = dict(entry)
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
        # A .csv holds features, or readings or words: where a source is named, the latter.
        if table.holds(source, FEATURES - TABLES if named else FEATURES):
            hint = f"; if it is raw, say `source: {source}`" if table.holds(source, TABLES) else ""
            raise ValueError(f"{manifest}: column {source!r} holds features already, nothing to extract from it{hint}")
        text = table.is_text(source)
        whole = options.pop("whole", text or source in sentences)
        if not isinstance(whole, bool):
            raise ValueError(f"modality {modality!r}: whole is {whole!r}, expected true or false")
        try:
            build(name, options)
        except ValueError as error:
            raise ValueError(f"modality {modality!r}: {error}") from error
        specs.append(Spec(modality, name, source, whole, resolve(name, options), fingerprint(name, options), text))
    for modality in features:
        if modality in _kept_columns(table, specs):
            raise ValueError(f"{manifest}: has a column {modality!r} already; give the modality another name")
    return specs


def _check_parts(manifest: Path, specs: list[Spec], parts: bool) -> None:
    for spec in specs:
        request = build(spec.extractor, spec.options).request()
        if spec.text and not isinstance(request, FileRequest):
            raise ValueError(f"{manifest}: column {spec.source!r} is sentences, which {spec.extractor!r} cannot read")
        if parts and not spec.whole and isinstance(request, FileRequest) and not request.parts:
            raise ValueError(
                f"{manifest}: has columns start and end, but the extractor of modality {spec.modality!r}, "
                f"{spec.extractor!r}, cannot read a part of a file; give it `whole: true` to read all of each file"
            )


def _check_device(specs: list[Spec], device: str) -> None:
    """Raises ValueError if the device of an extractor is not there."""
    own = [spec.options["device"] for spec in specs if "device" in spec.options]
    if own or device != "auto":
        from sparsefuse.parallel.devices import device_of  # imports torch, which most extractors do not need

        for name in own if device == "auto" else [device]:
            device_of(name)
    if device != "auto" and not own:
        _log.warning("no extractor runs a model on a device; %s is not used", device)


def _check_urls(table: Table, specs: list[Spec]) -> None:
    """Raises ImportError or ValueError for a protocol that cannot be read."""
    files = [spec.source for spec in specs if not spec.text]
    cells = {row[column] for column in files for row in table.rows if is_url(row[column])}
    for cell in {cell.split("://")[0]: cell for cell in cells}.values():
        check_protocol(cell)


def _usual_source(table: Table, extractor: str) -> str:
    usual = source_of(extractor)
    return "video" if usual == "audio" and "audio" not in table.columns else usual  # a video has sound, too


def _write(
    table: Table,
    specs: list[Spec],
    plan: Plan,
    reasons: Reasons,
    root: Path,
    out: Path,
    wanted: set[str],
) -> list[Skip]:
    """Writes the new manifest, the options and the report; the manifest last, so that the rest exists if it does.

    Raises Unusable if a `wanted` modality was made of no clip."""
    kept = _kept_columns(table, specs)
    carried = [column for column in kept if table.holds(column, FEATURES)]
    rows, skipped = [], []
    for index, row in enumerate(table.rows):
        files = {
            s.modality: plan.reference(index, s) if row[s.source] and (row["id"], s.modality) not in reasons else ""
            for s in specs
        }
        files |= {column: _moved(row[column], root, out) for column in carried}
        lost = [reasons[key] for spec in specs if (key := (row["id"], spec.modality)) in reasons]
        if any(files.values()):
            rows.append({column: row[column] for column in kept} | files)
            skipped += lost
        else:
            why = "; ".join(dict.fromkeys(skip.reason for skip in lost)) or "it names no media file"
            skipped.append(Skip(row["id"], "", why, "\n".join(skip.trace for skip in lost)))
    write_skipped(out / "skipped.jsonl", skipped)
    if not rows:
        raise Unusable(
            f"none of {len(table.rows)} samples could be used, see {out / 'skipped.jsonl'}; {skipped[0].reason}"
        )
    modalities = [spec.modality for spec in specs if any(row[spec.modality] for row in rows)]
    for spec in specs:
        if spec.modality in modalities:
            continue
        if spec.modality in wanted:
            why = next((skip.reason for skip in skipped if skip.modality == spec.modality), "")
            see = f"see {out / 'skipped.jsonl'}; {why}" if why else f"no row has a file in column {spec.source!r}"
            raise Unusable(f"{spec.modality!r} could be made of none of {len(table.rows)} samples, {see}")
        _log.warning("no sample has %r: the new manifest leaves it out", spec.modality)
    made_by = {"python": platform.python_version()} | versions(("sparsefuse", "numpy", "torch", "av"))
    made = {s.modality: with_files(_record(s), partial(relative, folder=out)) for s in specs}
    patches = {s.modality: count for s in specs if s.modality in modalities and (count := _patches(s)) > 1}
    noted = {"patches": patches} if patches else {}
    write_json(out / "features.json", {"features": made, **noted, "versions": made_by})
    columns = list(dict.fromkeys(["id", *modalities, *carried, *kept]))
    write_table(out / "manifest.csv", [{column: row[column] for column in columns} for row in rows])
    return skipped


def _kept_columns(table: Table, specs: list[Spec]) -> list[str]:
    """Columns that go into the new manifest as they are: all but those of media files."""
    dropped = {spec.source for spec in specs} | _media_columns(table)
    return [column for column in table.columns if column not in dropped]


def _media_columns(table: Table) -> set[str]:
    return {column for column in table.columns if table.holds(column, MEDIA)}


def _moved(ref: str, old: Path, new: Path) -> str:
    """A reference relative to the folder `old` as one relative to the folder `new`."""
    name, key = split_ref(ref)
    if suffix(ref) not in FEATURES or os.path.isabs(name):
        return ref  # a cell such as `n/a` is not a path
    name = Path(os.path.relpath(old.resolve() / name, new.resolve())).as_posix()
    return f"{name}#{key}" if key else name


def _patches(spec: Spec) -> int:
    """Tokens of each frame, if the extractor says it."""
    maker = build(spec.extractor, spec.options)
    return maker.patches() if isinstance(maker, Patched) else 1


def _record(spec: Spec) -> dict[str, Any]:
    place = {"extractor": spec.extractor, "source": spec.source} | ({"whole": True} if spec.whole else {})
    assert set(place) <= set(PLACE), place
    return place | spec.options
