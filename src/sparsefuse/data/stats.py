"""Mean and standard deviation of every feature over the training samples."""

from collections.abc import Iterable
from typing import NamedTuple

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


def measure(samples: Iterable[Sample]) -> Stats:
    """Measures over all real tokens of all samples, in float64, one sample in memory at a time."""
    count: dict[str, int] = {}
    mean: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}  # sum of squared distances from the mean
    for sample in samples:
        for modality, x in sample.features.items():
            x = x.double()
            before, here = count.get(modality, 0), x.shape[0]
            shift = x.mean(0) - mean.get(modality, torch.zeros_like(x[0]))
            spread = (x - x.mean(0)).square().sum(0) + shift.square() * (before * here / (before + here))
            count[modality] = before + here
            mean[modality] = mean.get(modality, torch.zeros_like(x[0])) + shift * (here / count[modality])
            squares[modality] = squares.get(modality, torch.zeros_like(x[0])) + spread
    std = {name: _floored(mean[name], (squares[name] / count[name]).sqrt()) for name in sorted(count)}
    return Stats({name: mean[name].float() for name in sorted(count)}, std)


def _floored(mean: Tensor, std: Tensor) -> Tensor:
    """A deviation within float32's rounding of the values counts as 0: dividing by it would amplify noise."""
    constant = std <= mean.abs() * torch.finfo(torch.float32).eps
    return std.float().masked_fill(constant | (std < torch.finfo(torch.float32).tiny), 1.0)
