"""Patches of pictures: what made a stream, in; how many of its tokens are one frame, out."""

import math
from collections.abc import Mapping
from typing import Any


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
