"""The manifest of what `fit` was given: a folder per class, or a manifest, in. A run keeps the clips it began with."""

import tempfile
from pathlib import Path

from sparsefuse.data.formats import prepare
from sparsefuse.files.rows import Table, read_table
from sparsefuse.files.skipped import Skip
from sparsefuse.files.typed import from_json
from sparsefuse.files.whole import read_lines
from sparsefuse.runs.folder import RunFolder


def prepared(source: Path, out: Path) -> Path:
    """The manifest; of a folder it is written into `out`/clips.

    Raises ValueError, and changes nothing, if `out` has a run of other clips: what it was trained on would be lost.
    """
    if not RunFolder(out).started:
        return prepare("folders", source, out / "clips") if source.is_dir() else source
    if not source.is_dir():
        _check_same(out, *_read_before(out), read_table(source))
        return source
    before = out / "clips" / "manifest.csv"
    if not before.is_file():
        raise ValueError(f"{out} has a run that `fit` of a folder did not make; give another folder for this one")
    with tempfile.TemporaryDirectory(dir=out, prefix=".clips") as folder:  # as deep, so that paths are the same
        _check_same(out, read_table(before), set(), read_table(prepare("folders", source, folder)))
    return before


def _read_before(out: Path) -> tuple[Table | None, set[str]]:
    """The clips whose features were extracted, and the ids of those that could not be used."""
    manifest, skipped = out / "features" / "manifest.csv", out / "features" / "skipped.jsonl"
    lines = read_lines(skipped) if skipped.is_file() else []
    lost = {from_json(Skip, line, f"{skipped}, line {i}").id for i, line in enumerate(lines, 1)}
    return read_table(manifest) if manifest.is_file() else None, lost


def _check_same(out: Path, before: Table | None, lost: set[str], now: Table) -> None:
    """Raises ValueError if clips came or went since, or have another label."""
    if before is None:
        return
    old, new = ({row["id"]: row.get("label", "") for row in table.rows} for table in (before, now))
    changes = {
        "new": [id for id in new if id not in old and id not in lost],
        "gone": [id for id in old if id not in new],
        "with another label": [id for id in old if new.get(id, old[id]) != old[id]],
    }
    said = [f"{len(ids)} {what}, such as {ids[0]}" for what, ids in changes.items() if ids]
    if said:
        raise ValueError(
            f"{out} was started with other clips: {'; '.join(said)}. A run keeps its clips: give another folder for a "
            "model of these, or remove this one"
        )
