"""How many tokens of a stream reach the model: cut to a longest length, resampled to a fixed one, or all of them."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from sparsefuse.config import Data


class Lengths(NamedTuple):
    """The rule of `Data.max_length`, `Data.resample` and `Data.windows`."""

    max_length: int = 0
    """longer streams lose their end; 0 = none does"""
    resample: Mapping[str, int] = {}
    """modality -> N"""
    windows: int = 1
    """of `max_length` tokens; with more than one, streams are not cut here but by `multiclip.windows`"""

    @classmethod
    def of(cls, data: Data) -> "Lengths":
        """The rule of a configuration for training: one window, the beginning."""
        return cls(data.max_length, data.resample)

    @classmethod
    def scored(cls, data: Data) -> "Lengths":
        """The rule for validation, test and prediction."""
        return cls(data.max_length, data.resample, data.windows)

    def windowed(self, modality: str) -> bool:
        """Whether the stream is kept whole, to be evaluated in several windows."""
        return self.windows > 1 and modality not in self.resample

    def after(self, modality: str, length: int) -> int:
        """The length of a stream of `length` tokens once it is fitted, or as a window of it reaches the model."""
        return self.resample.get(modality) or (min(length, self.max_length) if self.max_length else length)

    def fit(self, modality: str, x: Tensor) -> Tensor:
        """(N, F) -> (N', F), its own memory if anything changed. Between tokens, values are interpolated."""
        if self.windowed(modality):
            return x
        if self.max_length and len(x) > self.max_length:
            x = x[: self.max_length].clone()  # a view would keep the whole stream in a cache
        length = self.resample.get(modality, len(x))
        if len(x) == length:
            return x
        if length == 1:  # interpolation would keep the first token only
            return x.mean(0, keepdim=True)
        return functional.interpolate(x.t()[None], size=length, mode="linear", align_corners=True)[0].t().contiguous()


WHOLE = Lengths()
