"""The sizes of detectors by name."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparsefuse.errors import unknown
from sparsefuse.layers.points.backbone import PUBLISHED, Level
from sparsefuse.layers.points.picture import PictureSize
from sparsefuse.options import check_kind

_LEVEL = tuple[int, float, int, Sequence[int]]
"""a `Level` as a file has it"""


class Size(NamedTuple):
    """A detector's widths."""

    dim: int
    """of seeds and candidates"""
    num_heads: int
    hidden: int
    """of the decoder's MLPs"""
    levels: tuple[Level, ...]
    picture: PictureSize
    drop: float
    """of the decoder"""
    layers: int
    """of the decoder, where not said otherwise"""
    proposals: int
    """candidates, where not said otherwise"""


SIZES = {
    "tiny": Size(
        64, 4, 128,
        (Level(256, 0.3, 16, (16, 16, 32)), Level(128, 0.6, 16, (32, 32, 48)), Level(64, 1.0, 16, (48, 48, 64)),
         Level(32, 1.6, 16, (64, 64, 96))),
        PictureSize(48, 3, 8, (12, 12), 20, 0.0), 0.0, 2, 48,
    ),
    "small": Size(
        96, 6, 256,
        (Level(512, 0.25, 24, (32, 32, 64)), Level(256, 0.5, 16, (64, 64, 96)), Level(128, 0.9, 16, (64, 64, 128)),
         Level(64, 1.5, 16, (64, 64, 128))),
        PictureSize(96, 6, 8, (12, 12), 30, 0.1), 0.1, 3, 64,
    ),
    "ti": Size(288, 8, 2048, PUBLISHED, PictureSize(192, 3, 16, (50, 83), 100, 0.3), 0.1, 6, 256),
    "s": Size(288, 8, 2048, PUBLISHED, PictureSize(384, 6, 16, (32, 54), 100, 0.0), 0.1, 12, 512),
}  # fmt: skip
"""ti and s as published, with YOLOS-Ti and a ViT-S; tiny and small, ours, are for processors."""


def size_of(size: str | Size | Mapping[str, Any]) -> Size:
    """By name, or the fields that differ from the size it is `like` (small). Raises ValueError for unknown ones."""
    if isinstance(size, Size):
        return size
    if isinstance(size, str):
        if size not in SIZES:
            raise ValueError(unknown("size of detect", size, SIZES))
        return SIZES[size]
    check_kind(str, size.get("like", "small"), "size.like")
    base = size_of(size.get("like", "small"))
    for name in size:
        if name not in (*Size._fields, "like"):
            raise ValueError(unknown("field of size", name, (*Size._fields, "like")))
    changed = {name: value for name, value in size.items() if name != "like"}
    for name, value in changed.items():
        kind = {"levels": Sequence[_LEVEL], "picture": Mapping[str, Any]}.get(name, Size.__annotations__[name])
        check_kind(kind, value, f"size.{name}")
    if "levels" in changed:
        changed["levels"] = tuple(Level(n, r, m, tuple(w)) for n, r, m, w in changed["levels"])
    if "picture" in changed:
        for name, value in changed["picture"].items():
            if name not in PictureSize._fields:
                raise ValueError(unknown("field of size.picture", name, PictureSize._fields))
            check_kind(PictureSize.__annotations__[name], value, f"size.picture.{name}")
        changed["picture"] = base.picture._replace(**changed["picture"])
    return base._replace(**changed)
