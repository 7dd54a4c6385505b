"""Optical flow of a video: one token per pair of neighbouring frames, or one per patch of a pair.

The flow (dx, dy) at a pixel says how far what is there has moved in the next frame, in pixels of the frame as it was
scaled: right and down are positive. As Carreira & Zisserman (2017, "Quo vadis, action recognition?", the two-stream I3D
that the SFT paper takes its features from) do, it is cut to [-20, 20] pixels and scaled to [-1, 1].
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from sparsefuse.extras import install_command, need
from sparsefuse.features.frames import tokens
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import Frames, FramesRequest

SOURCE = "video"
PACKAGES = ("opencv-contrib-python-headless", "opencv-contrib-python")
_SMALLEST = 16  # pixels; below, DIS has no room for its own patches


@dataclass(frozen=True)
class Extractor:
    """Optical flow as tokens, (N, F) float32 in [-1, 1]: (dx, dy) of each area, row by row."""

    algorithm: Literal["dis", "tvl1"] = "dis"
    """dis (dense inverse search), or tvl1 (TV-L1, as the SFT paper; some hundred times slower)"""
    rate: float | None = None
    """frames per second, None = every frame"""
    size: tuple[int, int] = (80, 80)
    """height, width that a frame is scaled to; flow is measured in these pixels"""
    clip: float = 20.0
    """pixels of movement that give 1; what moves further gives 1 too"""
    pool: int = 8
    """side of the square areas over which flow is averaged first, 1 = every pixel"""
    patch: int | None = None
    """side of square patches in pixels, each a token; None = one token per pair of frames"""

    def __post_init__(self) -> None:
        height, width = self.size
        if min(self.size) < _SMALLEST:
            raise ValueError(f"size is {height} x {width}, expected at least {_SMALLEST} x {_SMALLEST} pixels")
        if not self.clip > 0:
            raise ValueError(f"clip is {self.clip}, expected pixels above 0")
        if self.pool < 1 or height % self.pool or width % self.pool:
            raise ValueError(f"pool is {self.pool}, expected a divisor of the height and width, {height} x {width}")
        if self.patch is not None and (
            self.patch < 1 or self.patch % self.pool or height % self.patch or width % self.patch
        ):
            raise ValueError(
                f"patch is {self.patch}, expected a multiple of pool, {self.pool}, "
                f"that divides the height and width, {height} x {width}"
            )

    def request(self) -> FramesRequest:
        """Grey frames."""
        return FramesRequest(rate=self.rate, size=self.size, gray=True)

    def features(self, frames: Frames) -> np.ndarray:
        """(N, F) float32; T frames are T - 1 pairs."""
        if len(frames.pixels) < 2:
            raise Unusable("has one frame, and flow needs two: raise `rate` for a film; a still picture has no flow")
        return tokens(self.flow(frames.pixels[..., 0]), patch=self.patch and self.patch // self.pool)

    def flow(self, pixels: np.ndarray) -> np.ndarray:
        """(T, H, W) uint8 to (T - 1, H / pool, W / pool, 2) float32: dx and dy, cut and scaled."""
        cv2 = _import_cv2()
        areas = (self.size[1] // self.pool, self.size[0] // self.pool)
        flow = np.empty((len(pixels) - 1, *areas[::-1], 2), np.float32)
        for pair, (before, after) in enumerate(pairwise(pixels)):
            moved = self._estimator.calc(before, after, None)
            flow[pair] = cv2.resize(moved, areas, interpolation=cv2.INTER_AREA)  # the mean, as pool divides the size
        return np.clip(flow / np.float32(self.clip), -1, 1)

    @cached_property
    def _estimator(self) -> Any:
        cv2 = _import_cv2()
        if self.algorithm == "dis":
            return _dis(cv2)
        if not hasattr(cv2, "optflow"):
            raise ImportError(
                "TV-L1 flow needs OpenCV's contrib modules, which this OpenCV lacks: pip uninstall opencv-python "
                f"opencv-python-headless, then {install_command('flow')}"
            )
        return cv2.optflow.createOptFlow_DualTVL1()


def _dis(cv2: Any) -> Any:
    """Dense inverse search at half the frame's size, without refinement."""
    # OpenCV's fast preset searches at a quarter and refines: on a texture moved by 1 to 7 of 112 pixels it took 0.19 ms
    # a pair and was wrong by half a pixel, this took 0.18 ms and was wrong by 0.02. The pooling smooths instead.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(1)
    search.setGradientDescentIterations(12)
    search.setPatchStride(6)
    search.setVariationalRefinementIterations(0)
    return search


def _import_cv2() -> Any:
    return need("cv2", "flow", "optical flow by OpenCV")
