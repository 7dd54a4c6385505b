"""Copies the shared files of a run folder without paths, commands and names of groups."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from sparsefuse.config import Config
from sparsefuse.files.typed import plain
from sparsefuse.runs.fitted import FITTED, Fitted, read_fitted, write_fitted
from sparsefuse.runs.folder import RunFolder, with_paths
from sparsefuse.runs.records import Calibration, Environment, Result
from sparsefuse.sharing.facts import facts_of

_ROOTS = r"(home|root|Users|tmp|work|mnt|var|media|data|opt|srv|private|Volumes|content|scratch)"
_PATH = rf"(?<![\w/.])/{_ROOTS}/[^\s\"']+|\b[A-Za-z]:\\+[^\s\"']+|~/[^\s\"']+"


def copy_scrubbed(run: Path, to: Path, *, with_replay: bool) -> None:
    """Writes the shared files of `run` to `to`. Left out: predictions and skipped clips (ids may name people), the
    optimiser's state, old clips unless `with_replay`, the command, the groups of the split, and every folder of a path.

    Raises ValueError, naming the file, if a path remains.
    """
    old, new = RunFolder(run), RunFolder(to)
    new.write(with_paths(facts_of(old), last))
    new.write(without_folders(old.read(Config)))
    if env := old.get(Environment):
        new.write(replace(env, command=None))
    if result := old.get(Result):  # the name of a manifest or folder may be a person's
        tuned = replace(result.finetune, from_=None) if result.finetune else None
        new.write(replace(result, data=_manifest(result.data), finetune=tuned))
    if calibration := old.get(Calibration):
        new.write(calibration)
    if (run / FITTED).is_file():
        write_fitted(to, without_places(read_fitted(run), new.read(Config)))
    new.write_epochs(old.epochs())
    shutil.copyfile(old.weights, new.weights)
    if with_replay and old.replay.is_file():
        shutil.copyfile(old.replay, new.replay)
    check_no_paths(to)


def check_no_paths(folder: Path) -> None:
    """Raises ValueError for a text file that contains a path of this machine."""
    here = [re.escape(part) for part in {str(Path.home()), str(Path.cwd())} if len(part) > len("/root")]
    paths = re.compile("|".join([*here, _PATH]))
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jsonl", ".md"):
            match = paths.search(path.read_text(encoding="utf-8"))
            if match:
                raise ValueError(f"{path.name} contains the path {match[0]!r}; nothing was shared. Remove it first")


def without_folders(config: Config) -> Config:
    """Without folders, without groups, which name people or films, and without what `extract` would make."""
    start = config.train.pretrained
    if start and (os.path.isabs(start) or start.startswith((".", "~")) or Path(start).exists()):
        start = last(start)
    data = replace(
        config.data,
        manifest=_manifest(config.data.manifest),
        classes={column: last(path) for column, path in config.data.classes.items()},
        split=replace(config.data.split, test_groups=[], folds=[]),
    )
    distill = replace(
        config.distill,
        teachers=[last(run) for run in config.distill.teachers],
        unlabelled=_manifest(config.distill.unlabelled) if config.distill.unlabelled else "",
    )
    train = replace(config.train, pretrained=start)
    return replace(config, data=data, features={}, train=train, distill=distill)


def without_places(fitted: Fitted, shared: Config) -> Fitted:
    """Its arguments that may name files or groups become those of the configuration that is shared; features go."""
    said = {"classes": shared.data.classes, "pretrained": shared.train.pretrained, "split": shared.data.split}
    options = {name: said.get(name, value) for name, value in fitted.options.items() if name != "features"}
    return replace(fitted, options=plain(options))


def last(path: str) -> str:
    """The name of a file without its folders, written on any system."""
    return PurePosixPath(PureWindowsPath(path).as_posix()).name


def _manifest(path: str) -> str:
    """`manifest` with the suffix of a manifest's file."""
    return f"manifest{PurePosixPath(last(path)).suffix}"
