"""Patches of pictures: what made a stream, in; how many of its tokens are one frame, out."""

from collections.abc import Mapping
from typing import Any


def patches_of(made_by: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Modality -> tokens of each frame, of those with more than one; `made_by` as of `stems.made_by`."""
    found = {}
    for name, made in made_by.items():
        match made:
            case {"extractor": "frames" | "flow", "size": [int(height), int(width)], "patch": int(side)} if side > 0:
                if (count := (height // side) * (width // side)) > 1:
                    found[name] = count
    return found
