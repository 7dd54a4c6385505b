"""A run folder for sharing, trained once; and the changes that make it hostile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
from sparsefuse.runs.fitted import Fitted, write_fitted
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts
from sparsefuse.training.train import train


def trained(folder: Path) -> Path:
    """A tiny run whose files name the folder they were made in."""
    config = tiny.config(tiny.write_set(folder / "data"), epochs=1)
    return train(config, folder / "run", root=Path(), measured=False)


def write_classifier(run: Path) -> None:
    """classifier.json as if `Classifier` had trained the run, with arguments that name files and people."""
    options = {"epochs": 3, "keep": 2, "classes": {"label": "/home/anna/classes.txt"}, "pretrained": "/home/anna/run"}
    options |= {"split": {"test_groups": ["anna"]}, "features": {"rgb": {"extractor": "words", "table": "anna.txt"}}}
    classes = RunFolder(run).read(ModelFacts).labels.classes
    labels = {"label": dict.fromkeys(classes, "numpy.str")}
    write_fitted(run, Fitted("sft", options, ["rgb", "sound"], 0, 2, ["rgb", "sound"], labels))


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the object that a JSON file holds."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
