"""The exported module: raw features and their lengths in, logits and probabilities out.

Cutting, resampling, normalising, windows and the temperature are part of it; `inputs` describes its inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sparsefuse import metrics
from sparsefuse.data.fitting import Fitted
from sparsefuse.export.sound import Wave
from sparsefuse.export.traced import Traceable
from sparsefuse.features import PLACE
from sparsefuse.features.spectrogram import CHOICES
from sparsefuse.inference.predictor import Predictor


@dataclass(frozen=True)
class Input:
    """One modality as the exported model takes it, with a second input (B,): its length without padding, 0 where the
    modality is missing."""

    name: str
    length: str
    """name of the second input"""
    kind: str
    """features (B, N, F) as extracted, or sound (B, S): samples from -1 to 1"""
    width: int
    """F; 1 for sound"""
    tokens: int | None
    """the number of tokens that streams are resampled, cut or padded to; None = all"""
    rate: int | None
    """samples a second, of sound"""
    extract: Mapping[str, object] | None
    """how its features are extracted; None if elsewhere"""


class Program(Traceable):
    """The model of a run from raw features (or sound) to probabilities; `inputs` in the order of its arguments."""

    def __init__(self, predictor: Predictor, *, with_features: bool = False):
        super().__init__()
        self.model = predictor.model
        self.labels, self.windows = predictor.labels, predictor.fit.windows
        self.temperature = predictor.temperature
        names = predictor.model.modalities
        waves = {name: wave_of(predictor.extract.get(name)) for name in names} if with_features else {}
        self.inputs = tuple(_input(name, predictor, waves.get(name)) for name in names)
        self.sounds = nn.ModuleList(waves.get(name) or nn.Identity() for name in names)
        self.fitted = nn.ModuleList(Fitted(name, predictor.fit, predictor.stats) for name in names)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """For every input x (B, N, F) or (B, S), and length (B,) -> logits (B, C) and, for classes, their calibrated
        probabilities (B, C)."""
        tokens = {}
        for i, spec in enumerate(self.inputs):
            x, length = tensors[2 * i], tensors[2 * i + 1]
            if spec.kind == "sound":
                x, length = self.sounds[i](x, length)
            tokens[spec.name] = self.fitted[i](x, length)
        logits = self.model(tokens).logits
        if self.windows > 1:
            logits = logits.unflatten(0, (-1, self.windows)).mean(1)
        return (logits,) if self.labels.task == "regression" else (logits, self._probabilities(logits))

    def _probabilities(self, logits: Tensor) -> Tensor:
        return metrics.probabilities(logits / self.temperature, self.labels.task, heads=self.labels.heads)

    @property
    def input_names(self) -> list[str]:
        """The names of the arguments."""
        return [name for spec in self.inputs for name in (spec.name, spec.length)]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs."""
        return ["logits"] if self.labels.task == "regression" else ["logits", "probabilities"]

    @property
    def free_axes(self) -> dict[str, tuple[str, ...]]:
        """The batch, and the length of each stream."""
        axes: dict[str, tuple[str, ...]] = dict.fromkeys([*self.input_names, *self.output_names], ("batch",))
        return axes | {spec.name: ("batch", f"{spec.name} {_UNIT[spec.kind]}") for spec in self.inputs}

    def example(self, batch: int = 3) -> tuple[Tensor, ...]:
        """Example arguments; all sizes differ, so that torch.export does not equate them."""
        generator = torch.Generator().manual_seed(0)
        arguments = []
        for i, spec in enumerate(self.inputs):
            length = 41 + 6 * i
            if spec.kind == "sound":
                length = 8000 + 1600 * i + 7
            shape = (batch, length) if spec.kind == "sound" else (batch, length, spec.width)
            lengths = [length, *[length // 2] * (batch - 1)]
            arguments += [torch.randn(shape, generator=generator) / 10, torch.tensor(lengths)]
        return tuple(arguments)


_UNIT = {"features": "tokens", "sound": "samples"}


def wave_of(spec: Mapping[str, Any] | None) -> Wave | None:
    """The front end from sound to a modality's features; None if its extractor is not `spectrogram`."""
    if not spec or spec["extractor"] != "spectrogram":
        return None
    return Wave(**{name: value for name, value in spec.items() if name not in (*PLACE, *CHOICES)})


def _input(name: str, predictor: Predictor, wave: Wave | None) -> Input:
    width, extract = predictor.model.features[name], predictor.extract.get(name)
    tokens = predictor.fit.resample.get(name) or predictor.fit.longest(name) or None
    if wave is not None:
        return Input(name, f"{name}.length", "sound", 1, tokens, wave.rate, extract)
    return Input(name, f"{name}.length", "features", width, tokens, None, extract)


def pad(clips: Sequence[dict[str, Tensor]], inputs: Sequence[Input]) -> tuple[Tensor, ...]:
    """Arguments for a batch of clips, each {modality: (N, F) or (S,)}; a modality that a clip lacks has length 0."""
    arguments: list[Tensor] = []
    for spec in inputs:
        empty = torch.empty(0) if spec.kind == "sound" else torch.empty(0, spec.width)
        streams = [clip.get(spec.name, empty) for clip in clips]
        longest = max(1, *map(len, streams))
        x = torch.zeros(len(clips), longest, *empty.shape[1:])
        for row, stream in zip(x, streams, strict=True):
            row[: len(stream)] = stream
        arguments += [x, torch.tensor([len(stream) for stream in streams])]
    return tuple(arguments)
