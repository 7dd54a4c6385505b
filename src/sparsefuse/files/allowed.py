"""Which files a table may name: with --offline those below its own folder and --roots, links followed."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sparsefuse.files.references import split_ref

_ROOTS = "SPARSEFUSE_ROOTS"
"""in the environment, so that processes that start later know it"""


def allow_only(roots: Sequence[Path]) -> None:
    """From now on `check_named` refuses files that lie neither below the table's own folder nor one of these."""
    os.environ[_ROOTS] = json.dumps([str(root.resolve()) for root in roots])


def allowed() -> list[str] | None:
    """The folders of --roots; None without --offline, where any file may be read."""
    return json.loads(os.environ[_ROOTS]) if _ROOTS in os.environ else None


def lies_below(path: Path, roots: Iterable[str]) -> bool:
    """Whether a file lies below one of some folders, links followed."""
    return any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots)


def check_named(manifest: Path, cells: Iterable[tuple[str, str, str]]) -> None:
    """Raises ValueError if files that a manifest names, as (id, column, file), exist where --offline does not read."""
    roots = allowed()
    if roots is None:
        return
    below = [str(manifest.parent), *roots]
    outside = [cell for cell in cells if (path := _file(manifest.parent, cell[2])) and not lies_below(path, below)]
    if outside:
        id, column, name = outside[0]
        more = f" (and {len(outside) - 1} more)" if len(outside) > 1 else ""
        raise ValueError(
            f"{manifest}: {column} of {id:.80} names {name:.200}{more}, which does not lie in {' or '.join(below)}; "
            "--offline reads no other folder, add it by --roots"
        )


def _file(folder: Path, ref: str) -> Path | None:
    """The file that a reference names; None if there is none."""
    try:
        return next((folder / name for name in (ref, split_ref(ref)[0]) if os.path.lexists(folder / name)), None)
    except ValueError:  # a name that no file can have
        return None
