"""What of a run is shared: a run folder in; the same files without paths, commands and names of groups out."""

import json
import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from sparsefuse.files.whole import read_json, write_json
from sparsefuse.sharing.parcel import LIMITS
from sparsefuse.training.replay import FILE as REPLAY

_ENV = ("sparsefuse", "torch", "python", "platform", "device", "threads", "commit", "seed")
_ROOTS = r"(home|root|Users|tmp|work|mnt|var|media|data|opt|srv|private|Volumes|content|scratch)"
_PATH = rf"(?<![\w/.])/{_ROOTS}/[^\s\"']+|\b[A-Za-z]:\\+[^\s\"']+|~/[^\s\"']+"


def copy_scrubbed(run: Path, to: Path, *, with_replay: bool) -> None:
    """Writes into `to` what is shared of `run`. Left out: predictions and skipped clips (their ids may say who), the
    optimiser's state, old clips unless `with_replay`, the command, the groups of the split, and every folder of a path.

    Raises ValueError, naming the place, if a path is left after all.
    """
    for name in sorted(LIMITS):
        path = run / name
        if not path.is_file() or (name == REPLAY and not with_replay) or name == "README.md":
            continue
        if path.suffix == ".json":
            write_json(to / name, _scrub(name, read_json(path)))
        else:
            (to / name).write_bytes(path.read_bytes())
    check_no_paths(to)


def check_no_paths(folder: Path) -> None:
    """Raises ValueError for a text with a path of this machine in it."""
    here = [re.escape(part) for part in {str(Path.home()), str(Path.cwd())} if len(part) > len("/root")]
    given_away = re.compile("|".join([*here, _PATH]))
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jsonl", ".md"):
            found = given_away.search(path.read_text(encoding="utf-8"))
            if found:
                raise ValueError(
                    f"{path.name} would give away the path {found[0]!r}; nothing was shared. Take it out first"
                )


def _scrub(name: str, value: dict[str, Any]) -> dict[str, Any]:
    if name == "env.json":
        return {key: value[key] for key in _ENV if key in value}
    if name == "result.json":  # a user's manifest, or folder, may be called by his name
        tuned = {key: part for key, part in value.get("finetune", {}).items() if key != "from"}
        return {**value, "data": _manifest(value.get("data", ""))} | ({"finetune": tuned} if tuned else {})
    if name == "config.json":
        return _config(value)
    return value


def _config(config: dict[str, Any]) -> dict[str, Any]:
    data, train = dict(config.get("data", {})), dict(config.get("train", {}))
    data["manifest"] = _manifest(data.get("manifest", ""))
    data["classes"] = {column: last(path) for column, path in data.get("classes", {}).items()}
    if "split" in data:  # groups are persons, or films
        data["split"] = {**data["split"], "test_groups": [], "folds": []}
    start = train.get("pretrained", "")
    if start and (os.path.isabs(start) or start.startswith((".", "~")) or Path(start).exists()):
        train["pretrained"] = last(start)
    return json.loads(json.dumps({**config, "data": data, "train": train}))


def last(path: str) -> str:
    """The name of a file without its folders, whichever system wrote it."""
    return PurePosixPath(PureWindowsPath(path).as_posix()).name


def _manifest(path: str) -> str:
    """A manifest's name without what it says."""
    return f"manifest{PurePosixPath(last(path)).suffix}"
