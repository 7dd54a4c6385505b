"""The configuration of what was chosen: a Config in, a YAML file that `sparsefuse train` takes out."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from sparsefuse.config import Config
from sparsefuse.files.whole import write_text


def write_yaml(path: Path, config: Config, root: Path, says: list[str]) -> None:
    """Writes what differs from the defaults, below comments that say how to run it and `says` what to expect.

    The manifest and lists of classes become relative to the file, as `train` reads them; a method's own .py file
    absolute, for that is read relative to wherever one is.
    """

    def relative(file: str) -> str:
        return os.path.relpath((root / file).resolve(), path.parent.resolve())

    tree = asdict(config)
    tree["data"]["manifest"] = relative(config.data.manifest)
    tree["data"]["classes"] = {name: relative(file) for name, file in config.data.classes.items()}
    if (root / config.train.pretrained).is_dir() and config.train.pretrained:
        tree["train"]["pretrained"] = relative(config.train.pretrained)
    if config.method.endswith(".py"):
        file = str(Path(config.method).resolve())
        tree["method"] = file
        tree["options"][file] = tree["options"].pop(config.method)
    changed = _changed(tree, asdict(Config()))
    notes = "".join(f"# {line}".rstrip() + "\n" for line in [*says, "", f"  sparsefuse train {path}"])
    write_text(path, notes + yaml.safe_dump({"method": tree["method"], **changed}, sort_keys=False))


def _changed(tree: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, object]:
    """What is not as it is by default, tuples as lists."""
    changed = {}
    for name, value in tree.items():
        if isinstance(value, dict) and default.get(name):
            value = _changed(value, default[name])
        if value != default.get(name) and value != {}:
            changed[name] = list(value) if isinstance(value, tuple) else value
    return changed
