"""What each column of a manifest is taken for: a table and its files in, a phrase per column out."""

import difflib
from collections import Counter
from collections.abc import Sequence

from sparsefuse.data.check.files import Files
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.labelled import unused_people
from sparsefuse.data.manifest import Manifest
from sparsefuse.files.references import AUDIO, IMAGES, TEXTS, VIDEO, split_ref, suffix
from sparsefuse.files.rows import Table, time_columns

_KNOWN = ("id", "label", "split", "group", "start", "end", "video", "audio")
_MEDIA = {"films": VIDEO, "sound": AUDIO, "pictures": IMAGES, "text files": TEXTS}


def columns_of(table: Table, manifest: Manifest, files: Files) -> dict[str, str]:
    """Column -> what it is taken for."""
    return {column: _taken_for(column, table, manifest, files) for column in table.columns}


def _taken_for(column: str, table: Table, manifest: Manifest, files: Files) -> str:
    kinds = Counter(suffix(row[column]) for row in table.rows if row[column])
    usual = kinds.most_common(1)[0][0] if kinds else ""
    if column in manifest.labels:
        return "label"
    if column == manifest.group:
        return "group"
    if column in ("id", "split", "start", "end"):
        return column
    if column in files.tables:
        return f"readings ({usual})"
    if column in files.features:
        return f"features ({usual}){', all their columns' if usual == '.csv' else ''}"
    if column in files.media:
        return next((f"{kind} ({usual})" for kind, of in _MEDIA.items() if usual in of), f"media ({usual})")
    if column in files.unread:
        return "sentences" if table.is_text(column) else f"files of an extractor ({usual})"
    if column == unused_people(table.columns, manifest.group):
        return f"ignored; data.group={column} keeps each one's clips within one split"
    near = difflib.get_close_matches(column, set(_KNOWN) - set(table.columns), n=1)
    return f"ignored{f'; did you mean {near[0]!r}?' if near else ''}"


def times_as_features(files: Files, manifest: Manifest) -> list[Problem]:
    """Columns of .csv features that are called as times are."""
    problems = []
    for column in sorted(files.csv.intersection(files.made)):
        ref = next(row.files[column] for row in files.rows if column in row.files)
        path = manifest.root / split_ref(ref)[0]
        names = _header(path.read_bytes()[:10_000].decode(errors="replace")) if path.is_file() else []
        problems += [
            broken("time", f"column {column!r}: {ref} has a column {name!r}, which is taken as a feature")
            for name in time_columns(names)
        ]
    return problems


def _header(text: str) -> Sequence[str]:
    return [name.strip().strip('"') for name in text.partition("\n")[0].lstrip("\ufeff").split(",")]
