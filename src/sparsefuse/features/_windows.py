"""Readings at a steady rate in, tokens out: windows of them, each with its readings, statistics, spectrum or energy."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Content = Literal["values", "statistics", "spectrum", "energy"]
TINY = 1e-12
"""Keeps the log of a still sensor's energy finite."""


class Windows(NamedTuple):
    """Windows of `length` readings, one every `hop` of them."""

    length: int
    hop: int

    def tokens(self, x: np.ndarray, contents: Sequence[Content]) -> np.ndarray:
        """(T, F) readings -> (N, F') tokens, the contents one after another."""
        windows = self._of(x)
        return np.concatenate([_CONTENTS[content](windows) for content in contents], axis=1)

    def touched(self, gap: np.ndarray) -> np.ndarray:
        """(T,) -> (N,): whether a window has one of these readings."""
        return np.any(self._of(gap[:, None]), axis=(1, 2))

    def _of(self, x: np.ndarray) -> np.ndarray:
        """(T, F) -> (N, F, length). A file shorter than a window repeats its last reading; what is left at the end of
        others is in none."""
        x = np.pad(x, ((0, max(0, self.length - len(x))), (0, 0)), mode="edge")
        return sliding_window_view(x, self.length, axis=0)[:: self.hop]


def _values(windows: np.ndarray) -> np.ndarray:
    return windows.swapaxes(1, 2).reshape(len(windows), -1)  # reading by reading


def _statistics(windows: np.ndarray) -> np.ndarray:
    """Mean, deviation, least, greatest, and the change from the first half to the second, of every column."""
    half = windows.shape[2] // 2
    slope = windows[..., -half:].mean(2) - windows[..., :half].mean(2)
    return np.concatenate([windows.mean(2), windows.std(2), windows.min(2), windows.max(2), slope], axis=1)


def _spectrum(windows: np.ndarray) -> np.ndarray:
    """Amplitude at each frequency above 0, under a Hann window, about the mean."""
    length = windows.shape[2]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)
    waves = np.fft.rfft((windows - windows.mean(2, keepdims=True)) * hann, axis=2)
    return (np.abs(waves[..., 1:]) * 2 / hann.sum()).reshape(len(windows), -1)


def _energy(windows: np.ndarray) -> np.ndarray:
    """Log of the mean square about the mean."""
    return np.log(windows.var(2) + TINY)


_CONTENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "values": _values,
    "statistics": _statistics,
    "spectrum": _spectrum,
    "energy": _energy,
}


def norms(x: np.ndarray) -> np.ndarray:
    """(T, 3 K) -> (T, K): the length of each three columns, which does not depend on how a sensor is turned."""
    return np.linalg.norm(x.reshape(len(x), -1, 3), axis=2)


def changes(x: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(T, F) -> (T, F): by how much each column rises a second, since the reading before; the first: 0."""
    steps = np.diff(times)[:, None]
    return np.concatenate([np.zeros_like(x[:1]), np.diff(x, axis=0) / np.where(steps > 0, steps, np.inf)])
