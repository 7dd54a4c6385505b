"""What model.json of a run on pictures holds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sparsefuse.config.pixels import CHANNELS, PictureStream, PixelTask
from sparsefuse.data.fingerprint import Fingerprint
from sparsefuse.runs.records import MOST_CLASSES, MOST_MODALITIES, check_count

MOST_SIDE = 16_384
"""rows or columns of a picture"""
MOST_LABEL = 65_535
"""in a label picture"""


@dataclass(frozen=True)
class PixelFacts:
    """All that prediction needs besides the weights. Raises ValueError for what no run can have."""

    task: PixelTask
    name: str
    method: str
    options: Mapping[str, Any]
    """of the method's `build`, but for the task"""
    streams: Mapping[str, PictureStream]
    """how the pictures of each are read"""
    channels: Mapping[str, int]
    """stream -> F"""
    classes: list[str]
    """of a pixel; empty in translation"""
    outputs: int
    """classes, or channels of the picture that is translated to"""
    target: PictureStream
    """how that picture is read"""
    ignore: int
    """number in a label picture that is no class"""
    size: tuple[int, int]
    """rows and columns, medians of the training scenes"""
    height: int
    """rows that pictures are resized to; 0 = as they are"""
    width: int
    """columns that pictures are resized to; 0 = as they are"""
    clips: Mapping[str, Fingerprint]
    """split -> fingerprint of its scenes"""
    depths: tuple[float, float] = (0.0, 1.0)
    """nearest and farthest metres of the training targets, which are -1 and 1 for the model, in translation to depth"""
    guessed: list[str] = field(default_factory=list)
    """streams of depth whose unit nobody stated: a file's own numbers say it"""

    def stream(self, name: str) -> PictureStream:
        """How a new picture of a stream is read: in training all were of one unit; of a new one, whole numbers are
        millimetres and fractions metres, where nobody stated another."""
        return replace(self.streams[name], unit=0.0) if name in self.guessed else self.streams[name]

    @property
    def target_scale(self) -> tuple[float, float]:
        """What makes of the model's values, from -1 to 1, those of the picture it translates to: they are multiplied by
        the second, then the first is added."""
        if self.target.kind == "normal":
            return 0.0, 1.0
        low, high = self.depths if self.target.kind == "depth" else (0.0, 1.0)
        return (low + high) / 2, (high - low) / 2

    def __post_init__(self) -> None:
        if not 1 <= len(self.streams) <= MOST_MODALITIES:
            raise ValueError(f"streams names {len(self.streams)}; expected 1 to {MOST_MODALITIES}")
        if self.channels.keys() != self.streams.keys():
            raise ValueError(f"channels is of {sorted(self.channels)}, streams of {sorted(self.streams)}")
        for name, stream in self.streams.items():
            channels = _channels(f"streams.{name[:60]}", stream)
            if self.channels[name] != channels:
                raise ValueError(f"channels.{name[:60]} is {self.channels[name]}; {stream.kind} has {channels}")
        check_count("ignore", self.ignore, MOST_LABEL, least=0)
        for name, side in zip(("size.0", "size.1"), self.size, strict=True):
            check_count(name, side, MOST_SIDE)
        check_count("height", self.height, MOST_SIDE, least=0)
        check_count("width", self.width, MOST_SIDE, least=0)
        if not 0 <= self.depths[0] < self.depths[1] < math.inf:
            raise ValueError(f"depths is {self.depths}; expected metres, the nearer first")
        self._check_outputs()

    def _check_outputs(self) -> None:
        if self.task == "segment":
            check_count("outputs", self.outputs, MOST_CLASSES)
            if len(self.classes) != self.outputs or len(set(self.classes)) != self.outputs:
                raise ValueError(f"classes has {len(self.classes)} names of {self.outputs} outputs, or a name twice")
            return
        channels = 1 if self.target.kind == "depth" else _channels("target", self.target)
        if self.outputs != channels or self.classes:
            raise ValueError(f"outputs is {self.outputs}, classes {self.classes[:9]}; expected {channels} and none")


def _channels(name: str, stream: PictureStream) -> int:
    """How many it has. Raises ValueError for a stream that cannot be read."""
    if stream.kind == "auto":
        raise ValueError(f"{name}.kind is auto; expected {', '.join(CHANNELS)}")
    if not 0 <= stream.unit <= 1e6 or (stream.kind == "depth" and not stream.unit):
        raise ValueError(f"{name}.unit is {stream.unit:g}; expected metres, above 0 and up to 1e6")
    return CHANNELS[stream.kind]
