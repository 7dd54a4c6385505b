"""A low-pass filter for readings at a steady rate, so that fewer of them hold nothing that is too fast for them."""

import numpy as np

_HALF = 16
"""Periods of the lower rate on either side that the filter sees: it passes 0.4 of that rate, and stops half of it."""
_CUTOFF = 0.45


def reach(factor: int) -> int:
    """Readings on either side that `decimated` takes more of than it needs the middle of."""
    return _HALF * factor


def decimated(x: np.ndarray, factor: int) -> np.ndarray:
    """(T + 2 reach, F) -> (ceil(T / factor), F): one of `factor` readings, after a sinc under a Hamming window."""
    taps = np.arange(-reach(factor), reach(factor) + 1) / factor
    weights = np.sinc(2 * _CUTOFF * taps) * np.hamming(len(taps))
    weights /= weights.sum()
    kept = np.lib.stride_tricks.sliding_window_view(x, len(weights), axis=0)[::factor]  # (N, F, taps)
    return kept @ weights
