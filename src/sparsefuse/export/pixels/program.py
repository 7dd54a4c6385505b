"""The exported module on pixels: pictures as they are measured in; logits and labels, or a picture, out.

Normalising, and the validity of depth, are part of it; `inputs` describes its inputs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsefuse.config.pixels import Kind
from sparsefuse.data.pixels.read import unit
from sparsefuse.export.traced import Traceable
from sparsefuse.inference.pixels.predictor import PixelPredictor
from sparsefuse.tokens import Field

WIDTH: dict[Kind, int] = {"color": 3, "gray": 1, "depth": 1, "normal": 3}
"""channels of an input"""


@dataclass(frozen=True)
class PictureInput:
    """One stream as the exported model takes it, with a second input (B, H, W) bool: where the picture is."""

    name: str
    mask: str
    """name of the second input: False in padding to the right and below, and everywhere if the scene lacks it"""
    kind: Kind
    """(B, H, W, F) float32. color: red, green, blue from 0 to 1; gray: from 0 to 1; depth: metres, 0 where nothing was
    measured; normal: unit vectors"""
    width: int
    """F"""


class PixelProgram(Traceable):
    """The model of a run from pictures to logits; `inputs` in the order of its arguments."""

    def __init__(self, predictor: PixelPredictor):
        super().__init__()
        self.model, self.classes, self.kind = predictor.model, len(predictor.facts.classes), predictor.facts.target.kind
        self.inputs = tuple(_input(name, predictor) for name in predictor.model.reads)
        self.normal = nn.ModuleList(_Normal(*predictor.stats[spec.name], spec.kind) for spec in self.inputs)
        self.target_scale = predictor.facts.target_scale

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """For every input x (B, H, W, F) and its mask (B, H, W) -> logits (B, H, W, C) and labels (B, H, W) int64; in
        translation the picture (B, H, W, C) in the units of its kind."""
        fields = {}
        for i, spec in enumerate(self.inputs):
            x, mask = tensors[2 * i], tensors[2 * i + 1]
            fields[spec.name] = Field(self.normal[i](x), mask)
        logits = self.model(fields).logits
        return (logits, logits.argmax(3)) if self.classes else (self._picture(logits),)

    def _picture(self, values: Tensor) -> Tensor:
        middle, half = self.target_scale
        values = values * half + middle
        if self.kind == "normal":
            return unit(values)
        return values.clamp_min(0) if self.kind == "depth" else values.clamp(0, 1)

    @property
    def input_names(self) -> list[str]:
        """The names of the arguments."""
        return [name for spec in self.inputs for name in (spec.name, spec.mask)]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs."""
        return ["logits", "labels"] if self.classes else ["picture"]

    @property
    def free_axes(self) -> dict[str, tuple[str, ...]]:
        """Batch, rows and columns."""
        return dict.fromkeys([*self.input_names, *self.output_names], ("batch", "rows", "columns"))

    def example(self, batch: int = 3) -> tuple[Tensor, ...]:
        """Example arguments; sizes that no layer divides alike."""
        generator = torch.Generator().manual_seed(0)
        arguments = []
        for spec in self.inputs:
            x = torch.rand(batch, 72, 104, spec.width, generator=generator)
            arguments += [x, torch.ones(x.shape[:3], dtype=torch.bool)]
        return tuple(arguments)


class _Normal(nn.Module):
    """What `data.pixels.read.normalised` does, after the channel of validity is added to depth."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, kind: Kind):
        super().__init__()
        self.depth = kind == "depth"
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, x: Tensor) -> Tensor:
        if not self.depth:
            return (x - self.mean) / self.std
        known = x > 0  # of NaN false, too
        measured = known.to(x.dtype)
        y = (torch.cat([torch.where(known, x, 0.0), measured], 3) - self.mean) / self.std
        return y * torch.cat([measured, torch.ones_like(measured)], 3)


def _input(name: str, predictor: PixelPredictor) -> PictureInput:
    kind: Any = predictor.facts.streams[name].kind
    return PictureInput(name, f"{name}_mask", kind, WIDTH[kind])
