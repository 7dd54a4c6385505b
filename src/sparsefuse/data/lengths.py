"""How many tokens of a stream reach the model: cut to a longest length, resampled to a fixed one, or all of them.

Where a frame is several tokens, one for each patch, these stay together: streams are cut between frames, and a patch is
only ever blended with the same patch of another frame.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from sparsefuse.config import Data
from sparsefuse.files.skipped import Unusable


class Lengths(NamedTuple):
    """The rule of `Data.max_length`, `Data.resample` and `Data.windows`."""

    max_length: int = 0
    """longer streams lose their end; 0 = none does"""
    resample: Mapping[str, int] = {}
    """modality -> N"""
    windows: int = 1
    """of `max_length` tokens; with more than one, streams are not cut here but by `multiclip.windows`"""
    patches: Mapping[str, int] = {}
    """modality -> tokens of each frame, where these are several"""

    @classmethod
    def of(cls, data: Data, patches: Mapping[str, int] = MappingProxyType({})) -> "Lengths":
        """The rule of a configuration for training: one window, the beginning.

        Raises ValueError for a number of tokens to resample to that is not one of whole frames.
        """
        for name, count in patches.items():
            wanted = data.resample.get(name, count)
            if wanted % count:
                near = max(1, round(wanted / count)) * count
                raise ValueError(
                    f"data.resample.{name} is {wanted}, and each frame of {name!r} is {count} tokens, one per patch; "
                    f"expected whole frames, such as {near}"
                )
        return cls(data.max_length, data.resample, patches=patches)

    def scored(self, windows: int) -> "Lengths":
        """The rule for validation, test and prediction."""
        return self._replace(windows=windows)

    def longest(self, modality: str) -> int:
        """Tokens that `max_length` leaves, those of whole frames if that is one or more; 0 = all."""
        over = self.max_length % self.frame(modality)
        return self.max_length - over or self.max_length

    def frame(self, modality: str) -> int:
        """Tokens of each frame."""
        return self.patches.get(modality, 1)

    def windowed(self, modality: str) -> bool:
        """Whether the stream is kept whole, to be evaluated in several windows."""
        return self.windows > 1 and modality not in self.resample

    def after(self, modality: str, length: int) -> int:
        """The length of a stream of `length` tokens once it is fitted, or as a window of it reaches the model."""
        return self.resample.get(modality) or (min(length, longest) if (longest := self.longest(modality)) else length)

    def fit(self, modality: str, x: Tensor) -> Tensor:
        """(N, F) -> (N', F), its own memory if anything changed. Between tokens, values are interpolated.

        Raises Unusable for tokens that are no whole frames, if they are resampled.
        """
        if self.windowed(modality):
            return x
        longest = self.longest(modality)
        if longest and len(x) > longest:
            x = x[:longest].clone()  # a view would keep the whole stream in a cache
        length = self.resample.get(modality, len(x))
        if len(x) == length:
            return x
        count = self.frame(modality)
        if len(x) % count:
            raise Unusable(f"has {len(x)} tokens to resample, expected frames of {count} tokens, one per patch")
        frames = x.reshape(-1, count * x.shape[1])  # (T, P F)
        if length == count:  # interpolation would keep the first frame only
            return frames.mean(0).view(count, -1)
        frames = functional.interpolate(frames.t()[None], size=length // count, mode="linear", align_corners=True)[0]
        return frames.t().reshape(length, -1)


WHOLE = Lengths()
