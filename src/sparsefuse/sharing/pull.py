"""Fetches a run from a folder or a repository of the hub, and checks it before it is used."""

import logging
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.features import files_of
from sparsefuse.runs.fitted import FITTED, read_fitted, write_fitted
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.sharing import hub
from sparsefuse.sharing.arrival import check_run
from sparsefuse.sharing.facts import facts_of
from sparsefuse.sharing.parcel import check_needed, plain_files
from sparsefuse.sharing.place import place
from sparsefuse.sharing.scrubbed import without_folders, without_places

log = logging.getLogger(__name__)


def pull(source: str, out: Path, *, revision: str | None = None, trust_models: bool = False) -> Path:
    """Copies or downloads the run at `source` (see `place`) to `out` and returns it; other files are left out.

    An extractor that names a model, a table or a path is left out unless `trust_models`: prediction would read or fetch
    what a stranger named. config.json keeps the last part of paths alone.

    `out` appears only after all checks. Raises FileExistsError if it is not empty, FileNotFoundError if there is no
    run, ValueError if it cannot be used safely (see `arrival`).
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is not empty; give another folder")
    at = place(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pull-") as folder:
        staged = Path(folder) / "run"
        staged.mkdir()
        left = _copied(at, staged) if isinstance(at, Path) else hub.download(at, staged, revision)
        for name in left:
            log.warning("left out, not a file of a run: %s", ascii(name))
        taken, others = plain_files(staged)
        for name in others:  # metadata of the hub
            shutil.rmtree(staged / name) if (staged / name).is_dir() else (staged / name).unlink()
        check_run(staged, taken)
        run = RunFolder(staged)
        run.write(without_folders(run.read(Config)))
        if FITTED in taken:
            write_fitted(staged, without_places(read_fitted(staged), run.read(Config)))
        if not trust_models:
            _leave_out_models(run)
        if out.is_dir():
            out.rmdir()
        os.replace(staged, out)
    return out


def _leave_out_models(run: RunFolder) -> None:
    facts = facts_of(run)
    if isinstance(facts, PixelFacts):  # it reads pictures as they are
        return
    named = {name: files for name, spec in facts.extractors.items() if (files := files_of(spec))}
    for name, files in named.items():
        shown = ", ".join(f"{option}={file!a}" for option, file in files.items())
        log.warning(
            "left out: the extractor of %a, which reads %s; give features, or pull with --trust-models", name, shown
        )
    if facts.extract and named:
        kept = {name: spec for name, spec in facts.extractors.items() if name not in named}
        run.write(replace(facts, extract=replace(facts.extract, features=kept)))


def _copied(source: Path, staged: Path) -> list[str]:
    """Copies the files of a run; returns the names of the others."""
    if not source.is_dir():
        raise FileNotFoundError(
            f"{source} is not a folder; expected one that `sparsefuse push` wrote, or hub://owner/name"
        )
    taken, left = plain_files(source)
    check_needed(taken, str(source))
    for name in taken:
        shutil.copyfile(source / name, staged / name, follow_symlinks=False)
    return left
