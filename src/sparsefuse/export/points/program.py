"""The exported module on clouds: one scene of a fixed number of points and pictures in; boxes and their scores out.

Normalising pictures is part of it, suppressing boxes that overlap is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsefuse.data.points.sample import num_channels
from sparsefuse.data.points.scenes import PICTURES
from sparsefuse.export.traced import Traceable
from sparsefuse.inference.points.predictor import PointPredictor
from sparsefuse.layers.points.heads import yaw_of
from sparsefuse.layers.points.nouns import Camera, Cloud
from sparsefuse.layers.points.state import Views
from sparsefuse.tokens import Tokens


@dataclass(frozen=True)
class SceneInput:
    """One input of the exported model."""

    name: str
    shape: tuple[int, ...]
    type: str
    what: str


class PointProgram(Traceable):
    """The model of a run from a scene to boxes; `inputs` in the order of its arguments."""

    mean: Tensor
    std: Tensor

    def __init__(self, predictor: PointPredictor):
        super().__init__()
        facts = predictor.facts
        self.model, self.num_points = predictor.model, facts.num_points
        self.frames = 0
        if predictor.reads_pictures:
            self.frames = facts.pictures if facts.frames is None else min(facts.frames, facts.pictures)
        self.size = facts.size
        self.width = num_channels(facts.channels)
        mean, std = predictor.stats[PICTURES]
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.inputs = self._inputs(facts.channels)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """The arguments of `inputs` -> boxes (1, K, 7), as rows of centre, size, yaw, and scores (1, K, C)."""
        given = dict(zip(self.input_names, tensors, strict=True))
        xyz = given["xyz"]
        x = given["channels"] if self.width else xyz[..., :0]
        outputs = self.model.read(Cloud(xyz, x, given["mask"]), self._views(given) if self.frames else None)
        said = outputs.state.predictions[-1]
        shares = outputs.votes.shares if outputs.votes is not None else said.labels.softmax(2)
        boxes = torch.cat([said.centre, said.size(), yaw_of(said)[..., None]], 2)
        return boxes, said.objectness.sigmoid()[..., None] * shares

    def _views(self, given: dict[str, Tensor]) -> Views:
        """Where no picture is shown, its camera sees nothing."""
        shown, pictures = given["shown"], given["pictures"]
        shown = shown[:, None, None]
        K = torch.where(shown, given["K"], 0.0)
        pose = torch.where(shown, given["pose"], torch.eye(4))
        camera = Camera(K, pose, torch.tensor([self.size]).expand(self.frames, 2))
        empty = Tokens(pictures.new_zeros(self.frames, 0, 0), torch.zeros(self.frames, 0, dtype=torch.bool))
        pictures = torch.where(shown[..., None], (pictures - self.mean) / self.std, 0.0)
        return Views(pictures, torch.zeros(self.frames, dtype=torch.long), camera, empty, (0, 0), 1)

    def _inputs(self, channels: Sequence[str]) -> tuple[SceneInput, ...]:
        count, frames = self.num_points, self.frames
        each = {
            "height": "metres above the floor, below which 1 % of the points lie",
            "color": "red, green, blue, 0 to 1",
        }
        found = [
            SceneInput("xyz", (1, count, 3), "float32", "points in metres: x right, y forward, z up"),
            SceneInput("mask", (1, count), "bool", "which of them there are; fewer are padded with any"),
        ]
        if self.width:
            what = "; ".join(f"{name}: {each[name]}" for name in channels)
            found.append(SceneInput("channels", (1, count, self.width), "float32", f"of each point: {what}"))
        if frames:
            rows, columns = self.size
            found += [
                SceneInput("pictures", (frames, rows, columns, 3), "float32", "red, green, blue from 0 to 1, resized"),
                SceneInput("K", (frames, 3, 3), "float32", "of the resized pictures; (0, 0) is the middle of a pixel"),
                SceneInput("pose", (frames, 4, 4), "float32", "camera (right, down, forward) to world"),
                SceneInput("shown", (frames,), "bool", "which pictures there are"),
            ]
        return tuple(found)

    @property
    def input_names(self) -> list[str]:
        """The names of the arguments."""
        return [one.name for one in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs."""
        return ["boxes", "scores"]

    @property
    def free_axes(self) -> dict[str, tuple[str, ...]]:
        """None: sampling and grouping are of a fixed number of points."""
        return dict.fromkeys([*self.input_names, *self.output_names], ())

    def example(self) -> tuple[Tensor, ...]:
        """Example arguments."""
        generator = torch.Generator().manual_seed(0)
        real = {one.name: torch.rand(one.shape, generator=generator) for one in self.inputs}
        return tuple(real[one.name] if one.type == "float32" else real[one.name] >= 0 for one in self.inputs)
