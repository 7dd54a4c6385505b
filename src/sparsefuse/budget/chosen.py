"""Writes the chosen configuration as a YAML file for `sparsefuse train`."""

import os
from dataclasses import asdict
from pathlib import Path

import yaml

from sparsefuse.config import Config, differing
from sparsefuse.files.whole import write_text


def write_yaml(path: Path, config: Config, root: Path, comments: list[str]) -> None:
    """Writes what differs from the defaults, below `comments` and the command that runs it.

    The manifest and lists of classes become relative to the file, as `train` reads them; a method's own .py file
    absolute, because it is read relative to the current folder.
    """

    def relative(file: str) -> str:
        return os.path.relpath(root.resolve() / file, path.parent.resolve())  # a link keeps its name

    tree = asdict(config)
    tree["data"]["manifest"] = relative(config.data.manifest)
    tree["data"]["classes"] = {name: relative(file) for name, file in config.data.classes.items()}
    tree["distill"]["teachers"] = [relative(run) for run in config.distill.teachers]
    if config.distill.unlabelled:
        tree["distill"]["unlabelled"] = relative(config.distill.unlabelled)
    if (root / config.train.pretrained).is_dir() and config.train.pretrained:
        tree["train"]["pretrained"] = relative(config.train.pretrained)
    if config.method.endswith(".py"):
        file = str(Path(config.method).resolve())
        tree["method"] = file
        tree["options"][file] = tree["options"].pop(config.method)
    changed = differing(tree, {**asdict(Config.load(recipe=config.recipe)), "recipe": Config.recipe})
    notes = "".join(f"# {line}".rstrip() + "\n" for line in [*comments, "", f"  sparsefuse train {path}"])
    write_text(path, notes + yaml.safe_dump({"method": tree["method"], **changed}, sort_keys=False))
