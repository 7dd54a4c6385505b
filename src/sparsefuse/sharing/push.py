"""Shares a run: a run folder in, a folder or a repository of the hub with its shared files out."""

import logging
import os
import tempfile
from pathlib import Path

from sparsefuse.files.whole import write_text
from sparsefuse.runs.folder import RunFolder
from sparsefuse.sharing import hub
from sparsefuse.sharing.arrival import check_run
from sparsefuse.sharing.card import card
from sparsefuse.sharing.facts import facts_of
from sparsefuse.sharing.parcel import CARD, check_needed, plain_files
from sparsefuse.sharing.place import PREFIX, place
from sparsefuse.sharing.scrubbed import check_no_paths, copy_scrubbed

log = logging.getLogger(__name__)


def push(
    run: Path,
    target: str,
    *,
    private: bool = True,
    license: str | None = None,
    data: str | None = None,
    with_replay: bool = False,
    dry_run: bool = False,
) -> str:
    """Shares `run` as `target` (see `place`), with a model card; returns the address. Logs each file first.

    The files pass the same checks as in `pull`. Raises FileNotFoundError if `run` is not a finished run,
    FileExistsError if `target` is a folder that is not empty, ValueError for a run that cannot be shared: its method
    or an extractor is a .py file, or a path of this machine is in it.
    """
    check_needed([path.name for path in run.iterdir()] if run.is_dir() else [], str(run))
    to = place(target)
    if isinstance(to, Path) and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise FileExistsError(f"{to} is not empty; give another folder")
    name = to.name if isinstance(to, Path) else f"{PREFIX}{to}"
    # Beside the target: a full disk is noticed before anything stands there.
    beside = to.parent if isinstance(to, Path) and not dry_run else None
    if beside:
        beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=beside, prefix=".push-") as folder:
        staged = Path(folder) / "run"
        staged.mkdir()
        copy_scrubbed(run, staged, with_replay=with_replay)
        text = card(run, title=facts_of(RunFolder(run)).name, source=name, license=license, data=data)
        write_text(staged / CARD, text)
        check_no_paths(staged)
        taken, _ = plain_files(staged)
        check_run(staged, taken)
        for file in taken:
            log.info("%12s bytes  %s", f"{(staged / file).stat().st_size:,}", file)
        if dry_run:
            return f"nothing was sent; without --dry-run it would go to {name if isinstance(to, str) else to}"
        if isinstance(to, Path):
            if to.is_dir():
                to.rmdir()
            os.replace(staged, to)
            return str(to)
        return hub.upload(staged, to, private=private)
