"""The part of the configuration that is of pictures: how each stream's are read, and how training changes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["color", "gray", "depth", "normal"]
"""what a picture shows. color: 3 channels; gray: 1; depth: metres and whether anything was measured, 2; normal: unit
vectors, 3"""
PixelTask = Literal["segment", "translate"]
"""a class per pixel; a picture from pictures"""
PIXEL_TASKS: tuple[PixelTask, ...] = ("segment", "translate")
CHANNELS: Mapping[Kind, int] = {"color": 3, "gray": 1, "depth": 2, "normal": 3}
"""of a stream; a target of depth has 1"""


@dataclass(frozen=True)
class PictureStream:
    """How the pictures of a stream are read, and how those of a training sample change."""

    kind: Literal["auto", "color", "gray", "depth", "normal"] = "auto"
    """color, gray, depth or normal; auto: depth if 16 bit or float, else color or gray, by its channels"""
    unit: float = 0.0
    """metres of one step of a depth picture; 0 = a millimetre if it holds whole numbers, else a metre"""
    invalid: float = 0.0
    """value of a depth picture where nothing was measured; so are NaN and infinity"""
    brightness: float = 0.0
    """most that is added to or taken off all pixels, in standard deviations"""
    contrast: float = 0.0
    """largest share by which distances from the sample's mean grow or shrink"""
    noise: float = 0.0
    """standard deviation of Gaussian noise, in those of the stream"""


@dataclass(frozen=True)
class Pixels:
    """Pictures in, labels or a picture out: for data.task segment and translate."""

    streams: dict[str, PictureStream] = field(default_factory=dict)
    """stream -> how its pictures are read, where that is not as usual: {depth: {kind: depth, unit: 0.001}}"""
    target: PictureStream = field(default_factory=PictureStream)
    """how the picture that is translated to is read"""
    height: int = 0
    """rows that pictures are resized to; 0 = as they are"""
    width: int = 0
    """columns that pictures are resized to; 0 = as they are"""
    classes: list[str] = field(default_factory=list)
    """names of the classes of pixels, in the order of their numbers; empty = 0, 1 ... to the largest of training"""
    ignore: int = 255
    """number in a label picture that is no class: neither trained nor scored"""
    scale: tuple[float, float] = (1.0, 1.0)
    """smallest and largest factor by which a training sample is enlarged, all its pictures alike; then it is cropped or
    padded to its own size"""
    flip: float = 0.0
    """probability of swapping left and right of a training sample, in all its pictures alike"""
    holes: float = 0.0
    """probability with which a training sample loses a rectangle of a stream, of each by itself"""
    adversarial: float = 0.0
    """translation: weight of a second network's judgement whether the picture is real; 0 = off"""
    adversarial_lr: float = 1e-4
    """translation: learning rate of that network"""
