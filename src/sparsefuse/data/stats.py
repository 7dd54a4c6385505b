"""Mean and standard deviation of every feature over the training samples."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsefuse.data.sample import Sample


class Stats(NamedTuple):
    """Normalises features: (x - mean) / std. A constant feature has std 1, so it becomes 0."""

    mean: dict[str, Tensor]
    """modality -> (F,) float32"""
    std: dict[str, Tensor]
    """modality -> (F,) float32, above 0"""

    def normalise(self, modality: str, x: Tensor) -> Tensor:
        """(N, F) -> (N, F)."""
        return (x - self.mean[modality]) / self.std[modality]

    def to_tensors(self) -> dict[str, Tensor]:
        """As one flat dict for safetensors: `mean/<modality>`, `std/<modality>`."""
        return {f"{name}/{modality}": x for name, kind in self._asdict().items() for modality, x in kind.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Stats":
        """The inverse of `to_tensors`; other keys are ignored. Raises ValueError for a std that is not above 0."""
        kinds = ({k.removeprefix(p): x for k, x in tensors.items() if k.startswith(p)} for p in ("mean/", "std/"))
        stats = cls(*kinds)
        for modality, x in stats.std.items():
            if not (x > 0).all():
                raise ValueError(f"std/{modality} is {float(x.min()):g}; expected values above 0")
        return stats


class Moments(NamedTuple):
    """Of a feature's values, each feature apart."""

    tokens: int
    mean: np.ndarray
    """(F,) float64"""
    spread: np.ndarray
    """(F,) sum of squared distances from the mean"""

    @classmethod
    def of(cls, x: np.ndarray) -> "Moments":
        """Of one sample's tokens (N, F)."""
        x = x.astype(np.float64)
        mean = x.sum(0) / len(x)  # as x.mean(0), in half the time
        x -= mean
        return cls(len(x), mean, np.square(x, out=x).sum(0))

    def plus(self, other: "Moments") -> "Moments":
        """Of both together."""
        tokens, shift = self.tokens + other.tokens, other.mean - self.mean
        spread = self.spread + (other.spread + np.square(shift) * (self.tokens * other.tokens / tokens))
        return Moments(tokens, self.mean + shift * (other.tokens / tokens), spread)


class Measuring:
    """Statistics over all real tokens of all samples, in float64, one sample in memory at a time."""

    def __init__(self) -> None:
        self._moments: dict[tuple[str, int], Moments] = {}

    def add(self, modality: str, moments: Moments) -> None:
        """One more sample."""
        key = modality, len(moments.mean)
        self._moments[key] = self._moments[key].plus(moments) if key in self._moments else moments

    def stats(self, features: Mapping[str, int]) -> Stats:
        """Of all samples so far that have this width in a modality."""
        found = {name: self._moments[name, features[name]] for name in sorted(features)}
        means = {name: torch.from_numpy(of.mean) for name, of in found.items()}
        stds = {name: torch.from_numpy(of.spread / of.tokens).sqrt() for name, of in found.items()}
        floored = {name: _floored(means[name], stds[name]) for name in found}
        return Stats({name: mean.float() for name, mean in means.items()}, floored)


def measure(samples: Iterable[Sample]) -> Stats:
    """The statistics of samples."""
    measuring, features = Measuring(), dict[str, int]()
    for sample in samples:
        for name, x in sample.features.items():
            measuring.add(name, Moments.of(x.numpy()))
            features[name] = x.shape[1]
    return measuring.stats(features)


def _floored(mean: Tensor, std: Tensor) -> Tensor:
    """A deviation within float32's rounding of the values counts as 0: dividing by it would amplify noise."""
    constant = std <= mean.abs() * torch.finfo(torch.float32).eps
    return std.float().masked_fill(constant | (std < torch.finfo(torch.float32).tiny), 1.0)
