"""The part of the configuration that is of clouds: what is read of a scene, and how training changes it."""

from dataclasses import dataclass, field
from typing import Literal

PointTask = Literal["detect"]
"""boxes in space, from points and pictures of them"""
POINT_TASKS: tuple[PointTask, ...] = ("detect",)
Channel = Literal["height", "color"]


@dataclass(frozen=True)
class Points:
    """Clouds and pictures in, boxes out: for data.task detect."""

    cloud: str = "cloud"
    """the column of clouds"""
    cameras: str = "cameras"
    """the column of files that name a scene's pictures and their cameras; without it there are no pictures"""
    boxes: str = "boxes"
    """the column of files with a scene's boxes"""
    channels: list[Channel] = field(default_factory=list)
    """what is read of a point besides its place. height: above the floor, which is where 1 % of the points lie below;
    color: red, green and blue, which the cloud must have"""
    classes: list[str] = field(default_factory=list)
    """names of the classes of boxes, in the order of the model's outputs; empty = those in training, sorted"""
    num_points: int = 20_000
    """points of a scene that are read, drawn anew in each epoch; scenes with fewer keep theirs"""
    frames: int | None = None
    """most pictures of a scene that are read, the first ones; null = all, 0 = none"""
    height: int = 0
    """rows that pictures are resized to, their cameras with them; 0 = as they are"""
    width: int = 0
    """columns that pictures are resized to; 0 = as they are"""
    flip: float = 0.0
    """probability with which a training scene is mirrored, left to right: points, boxes and pictures alike"""
    rotate: float = 0.0
    """largest angle, in degrees, by which a training scene is turned about the vertical, with its boxes and cameras"""
    scale: tuple[float, float] = (1.0, 1.0)
    """smallest and largest factor by which a training scene is enlarged, with its boxes and cameras"""
    jitter: float = 0.0
    """standard deviation, in metres, of the noise that is added to training points"""
