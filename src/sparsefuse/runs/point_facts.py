"""What model.json of a run on clouds holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparsefuse.config.points import Channel, PointTask
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.runs.pixel_facts import MOST_SIDE
from sparsefuse.runs.records import MOST_CLASSES, check_count

MOST_POINTS = 2**20
MOST_PICTURES = 1024
"""of a scene"""
MOST_BOXES = 16_384
"""classes times proposals, which are found in a scene"""


@dataclass(frozen=True)
class PointFacts:
    """All that prediction needs besides the weights. Raises ValueError for what no run can have."""

    task: PointTask
    name: str
    method: str
    options: Mapping[str, Any]
    """of the method's `build`"""
    channels: list[Channel]
    """what is read of a point besides its place"""
    classes: list[str]
    num_points: int
    """points of a scene that are read"""
    points: int
    """of a usual training scene, as many as are read"""
    frames: int | None
    """most pictures of a scene that are read; None = all"""
    pictures: int
    """of a usual training scene, as many as are read"""
    size: tuple[int, int]
    """rows and columns of a usual picture, as it is read; 0, 0 without any"""
    height: int
    """rows that pictures are resized to; 0 = as they are"""
    width: int
    """columns that pictures are resized to; 0 = as they are"""
    clips: Mapping[str, Fingerprint]
    """split -> fingerprint of its scenes"""
    shown: Mapping[str, str] = field(default_factory=dict)
    """split -> hash of its pictures and cameras; empty if the run reads none, or does not know"""

    def check_shown(self, shown: Mapping[str, str], out: Path) -> None:
        """Raises ValueError if the scenes' pictures or cameras are others than those of the run in `out`."""
        if self.shown and (changed := [split for split, hash in shown.items() if self.shown.get(split) != hash]):
            raise ValueError(
                f"{out} was started with other pictures or cameras (of {', '.join(changed)}): their files changed "
                "since; restore them, give another folder, or remove this one"
            )

    def __post_init__(self) -> None:
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f"channels is {self.channels}; expected each once")
        check_count("classes", len(self.classes), MOST_CLASSES)
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes has a name twice")
        check_count("num_points", self.num_points, MOST_POINTS)
        check_count("points", self.points, self.num_points)
        check_count("frames", self.frames or 0, MOST_PICTURES, least=0)
        check_count("pictures", self.pictures, MOST_PICTURES, least=0)
        for name, side in (("size.0", self.size[0]), ("size.1", self.size[1])):
            check_count(name, side, MOST_SIDE, least=1 if self.pictures else 0)
        for name in ("height", "width"):
            check_count(name, getattr(self, name), MOST_SIDE, least=0)
