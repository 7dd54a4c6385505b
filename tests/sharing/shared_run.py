"""A run folder for sharing, trained once; and the changes that make it hostile."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
from sparsefuse.training.train import train


def trained(folder: Path) -> Path:
    """A tiny run whose files name the folder they were made in."""
    config = tiny.config(tiny.write_set(folder / "data"), epochs=1)
    return train(config, folder / "run", root=Path(), measured=False)


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the object that a JSON file holds."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
