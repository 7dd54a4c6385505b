"""What of a run is shared: a run folder in; the same files without paths, commands and names of groups out."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from sparsefuse.config import Config
from sparsefuse.runs.folder import Calibration, Environment, ModelFacts, Result, RunFolder

_ROOTS = r"(home|root|Users|tmp|work|mnt|var|media|data|opt|srv|private|Volumes|content|scratch)"
_PATH = rf"(?<![\w/.])/{_ROOTS}/[^\s\"']+|\b[A-Za-z]:\\+[^\s\"']+|~/[^\s\"']+"


def copy_scrubbed(run: Path, to: Path, *, with_replay: bool) -> None:
    """Writes into `to` what is shared of `run`. Left out: predictions and skipped clips (their ids may say who), the
    optimiser's state, old clips unless `with_replay`, the command, the groups of the split, and every folder of a path.

    Raises ValueError, naming the place, if a path is left after all.
    """
    old, new = RunFolder(run), RunFolder(to)
    new.write(old.read(ModelFacts))
    new.write(_config(old.read(Config)))
    if env := old.get(Environment):
        new.write(replace(env, command=None))
    if result := old.get(Result):  # a user's manifest, or folder, may be called by his name
        tuned = replace(result.finetune, from_=None) if result.finetune else None
        new.write(replace(result, data=_manifest(result.data), finetune=tuned))
    if calibration := old.get(Calibration):
        new.write(calibration)
    new.write_epochs(old.epochs())
    shutil.copyfile(old.weights, new.weights)
    if with_replay and old.replay.is_file():
        shutil.copyfile(old.replay, new.replay)
    check_no_paths(to)


def check_no_paths(folder: Path) -> None:
    """Raises ValueError for a text with a path of this machine in it."""
    here = [re.escape(part) for part in {str(Path.home()), str(Path.cwd())} if len(part) > len("/root")]
    paths = re.compile("|".join([*here, _PATH]))
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jsonl", ".md"):
            match = paths.search(path.read_text(encoding="utf-8"))
            if match:
                raise ValueError(
                    f"{path.name} would give away the path {match[0]!r}; nothing was shared. Take it out first"
                )


def _config(config: Config) -> Config:
    """Without folders, and without groups: they are persons, or films."""
    start = config.train.pretrained
    if start and (os.path.isabs(start) or start.startswith((".", "~")) or Path(start).exists()):
        start = last(start)
    data = replace(
        config.data,
        manifest=_manifest(config.data.manifest),
        classes={column: last(path) for column, path in config.data.classes.items()},
        split=replace(config.data.split, test_groups=[], folds=[]),
    )
    return replace(config, data=data, train=replace(config.train, pretrained=start))


def last(path: str) -> str:
    """The name of a file without its folders, whichever system wrote it."""
    return PurePosixPath(PureWindowsPath(path).as_posix()).name


def _manifest(path: str) -> str:
    """A manifest's name without what it says."""
    return f"manifest{PurePosixPath(last(path)).suffix}"
