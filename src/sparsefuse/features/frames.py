"""Resized pixels of a video as tokens: one per frame, or one per patch of a frame."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sparsefuse.media import Frames, FramesRequest

SOURCE = "video"


@dataclass(frozen=True)
class Extractor:
    """Pixels as tokens, (N, F); in [0, 1], or 0 to 255 if stored as uint8."""

    rate: float | None = None
    """frames per second, None = every frame"""
    size: tuple[int, int] = (32, 32)
    """height, width"""
    gray: bool = True
    """one number a pixel in place of three"""
    patch: int | None = None
    """side of the square patches, None = one token per frame"""
    difference: bool = False
    """append to each token what changed since the frame before (the first: zeros)"""
    energy: bool = False
    """append to each token the mean square of what changed since the frame before"""
    centre: bool = False
    """subtract the clip's mean frame from every frame, so that what does not move becomes 0"""
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    """how they are stored; uint8 is a quarter of float32, and loses nothing, but goes from 0 to 255"""

    def __post_init__(self) -> None:
        if self.patch is not None and (self.patch < 1 or self.size[0] % self.patch or self.size[1] % self.patch):
            raise ValueError(
                f"patch is {self.patch}, expected a divisor of the height and width, {self.size[0]} x {self.size[1]}"
            )
        if self.dtype == "uint8" and (self.difference or self.energy or self.centre):
            raise ValueError(
                "dtype is uint8, which holds no negative numbers and no fractions: with difference, energy or centre "
                "write float16"
            )

    def request(self) -> FramesRequest:
        """Frames of the size."""
        return FramesRequest(rate=self.rate, size=self.size, gray=self.gray)

    def features(self, frames: Frames) -> np.ndarray:
        """(N, F) of dtype."""
        if self.dtype == "uint8":
            return tokens(frames.pixels, patch=self.patch)
        pixels = frames.pixels.astype(np.float32) / 255
        x = tokens(pixels, patch=self.patch, difference=self.difference, energy=self.energy, centre=self.centre)
        return x.astype(self.dtype, copy=False)


def tokens(
    pixels: np.ndarray,
    *,
    patch: int | None = None,
    difference: bool = False,
    energy: bool = False,
    centre: bool = False,
) -> np.ndarray:
    """(T, H, W, C) to (N, F), ordered by time, then row, then column; a patch's features are its rows, flattened."""
    if centre:
        pixels = pixels - pixels.mean(0)
    cut = _patches(pixels, patch) if patch else pixels.reshape(len(pixels), 1, -1)  # (T, P, F)
    if difference or energy:
        change = np.diff(cut, axis=0, prepend=cut[:1])
        of_it = [change] * difference + [np.square(change).mean(2, keepdims=True)] * energy
        cut = np.concatenate([cut, *of_it], axis=2)  # (T, P, F to 2F + 1)
    return cut.reshape(-1, cut.shape[2])


def _patches(pixels: np.ndarray, side: int) -> np.ndarray:
    time, height, width, colours = pixels.shape
    grid = pixels.reshape(time, height // side, side, width // side, side, colours).swapaxes(2, 3)
    return grid.reshape(time, -1, side * side * colours)  # (T, P, F)
