"""Patches of pictures: what made a stream, in; how many of its tokens are one frame, out."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsefuse.data.stems import made_by
from sparsefuse.files.typed import from_json, parse


def grid_of(made: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of a frame's patches, if a stream has a token for each; `made`: its extractor and options."""
    match made:
        case {"extractor": "frames" | "flow", "size": [int(height), int(width)], "patch": int(side)} if side > 0:
            return height // side, width // side
    return None


def patches_of(made_by: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Modality -> tokens of each frame, of those with more than one; `made_by` as of `stems.made_by`."""
    grids = {name: grid_of(made) for name, made in made_by.items()}
    return {name: count for name, grid in grids.items() if grid and (count := math.prod(grid)) > 1}


def patches_in(folder: Path) -> dict[str, int]:
    """As `patches_of` what made the features of the manifest in a folder, and of models what features.json notes.

    Raises ValueError if that file is none of `extract`.
    """
    found, path = patches_of(made_by(folder)), folder / "features.json"
    content = parse(path.read_bytes(), str(path)) if path.is_file() else {}
    noted = from_json(dict[str, int], content.get("patches", {}) if isinstance(content, dict) else {}, str(path))
    for name, count in noted.items():
        if count < 1:
            raise ValueError(f"{path}: patches.{name:.60} is {count}; expected the tokens of a frame, 1 or more")
    return found | {name: count for name, count in noted.items() if count > 1}
