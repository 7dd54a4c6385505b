"""A run folder and the data that were written for it in; a copy that stands alone in another folder out."""

import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.files.located import relative
from sparsefuse.runs.fitted import FITTED
from sparsefuse.runs.folder import (
    CHECKPOINT,
    EPOCHS,
    NAMES,
    PICTURES,
    PREDICTIONS,
    REPLAY,
    SEEN,
    SKIPPED,
    WEIGHTS,
    RunFolder,
    with_paths,
)
from sparsefuse.runs.records import ModelFacts

log = logging.getLogger(__name__)

DATA = "data"
"""the folder, in a run's, of data that came from memory"""
_COPIED = {
    *NAMES.values(),
    WEIGHTS,
    CHECKPOINT,
    REPLAY,
    EPOCHS,
    SKIPPED,
    PREDICTIONS,
    SEEN,
    PICTURES,
    FITTED,
    "tensorboard",
}
"""what a copy holds of a run, beside the folder of its data: `fit` puts clips and features into the folder, too"""
_OWN = {*_COPIED, DATA, "report.html", "check.html", "clock.json", "asked.json", "errors.log"}
"""all that a folder may hold that is overwritten: what commands write into a run's besides, of which they make more"""
_OWN_DATA = r"[0-9a-f]{16}|features|manifest\.csv|skipped\.jsonl"


def copy_run(run: Path, out: Path, data: Path, *, overwrite: bool = False) -> Path:
    """Copies `run` and, if its manifest lies in it, the folder `data` to `out`, whole or not at all; returns `out`.
    Another manifest stays where it is, also if that is the run's folder, and the copy names it there; a warning says if
    there is none any more.

    Raises FileExistsError if something is there: with `overwrite` only if it is more than a run, which nothing
    deletes; FileNotFoundError without the run.
    """
    if not run.is_dir():
        raise FileNotFoundError(f"{run} no longer exists; fit again, with out= to keep it")
    _check_free(out, (run, data), overwrite)
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".save-") as beside:
            new, old = Path(beside, "new"), Path(beside, "old")
            new.mkdir()
            for path in run.iterdir():
                if path.name in _COPIED:
                    (shutil.copytree if path.is_dir() else shutil.copy2)(path, new / path.name)
            config = RunFolder(run).read(Config)
            manifest = Path(config.data.manifest).absolute()
            config = with_paths(config, partial(relative, folder=out))
            if data in manifest.parents and data.is_dir():
                shutil.copytree(data, new / DATA)
                inside = f"{DATA}/{manifest.relative_to(data).as_posix()}"
                config = replace(config, data=replace(config.data, manifest=inside))
            elif not manifest.is_file():
                log.warning(
                    "%s: the clips that the run was trained on are not saved, as their manifest is gone (%s); the copy "
                    "predicts, but eval and export need --manifest, and training needs other clips", out, manifest
                )  # fmt: skip
            RunFolder(new).write(config)
            RunFolder(new).write(with_paths(RunFolder(run).read(ModelFacts), partial(relative, folder=out)))
            old.mkdir()
            moves = [(path, old / path.name) for path in out.iterdir() if path != Path(beside)]
            moves += [(path, out / path.name) for path in new.iterdir()]
            _move(moves)
    except BaseException:
        if made:
            with suppress(OSError):
                out.rmdir()
        raise
    return out


def contents(run: Path) -> dict[str, bytes]:
    """The files of a run by name, to be written anywhere: paths in them are absolute. Its data stay where they are."""
    files = {path.name: path.read_bytes() for path in run.iterdir() if path.name in _COPIED and path.is_file()}
    with tempfile.TemporaryDirectory() as folder:
        for kind in (Config, ModelFacts):
            RunFolder(Path(folder)).write(with_paths(RunFolder(run).read(kind), os.path.abspath))
        return files | {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _move(moves: list[tuple[Path, Path]]) -> None:
    """All of them or none."""
    done = []
    try:
        for source, target in moves:
            os.replace(source, target)
            done.append((target, source))
    except BaseException:
        for source, target in reversed(done):
            os.replace(source, target)
        raise


def _check_free(out: Path, used: tuple[Path, ...], overwrite: bool) -> None:
    """Raises FileExistsError unless `out` is new, empty, or a run that may be overwritten and that nothing is `used`
    of."""
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; give a folder")
    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if not there:
        return
    foreign = [name for name in there if name not in _OWN]
    if DATA in there:
        inside = sorted((out / DATA).iterdir()) if (out / DATA).is_dir() else [out / DATA]
        foreign += [f"{DATA}/{path.name}" for path in inside if not re.fullmatch(_OWN_DATA, path.name)]
    if not RunFolder(out).started:
        raise FileExistsError(f"{out} is not empty, and no run folder; nothing there is deleted; give a new folder")
    if foreign:
        raise FileExistsError(
            f"{out} is not empty, and holds more than a run ({foreign[0]}); nothing there is deleted; give a new folder"
        )
    if any(out.resolve() in (path.resolve(), *path.resolve().parents) for path in used):
        raise FileExistsError(f"{out} is the folder that the run to be copied is in; give another one")
    if not overwrite:
        raise FileExistsError(f"{out} is not empty: it holds a run; give a new folder, or overwrite=True to replace it")
