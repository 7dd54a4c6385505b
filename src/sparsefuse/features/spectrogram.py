"""Log-mel spectrogram of a sound: one token per 10 ms, as in the SFT paper (section 4.1)."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sparsefuse.media import Channels, Choice, SoundRequest

SOURCE = "audio"
CHOICES = ("audio", "channels")
"""Options that choose the sound; all others are of what is made of it."""
FLOOR = 1e-6
"""Of power: keeps the log of digital silence finite."""


@dataclass(frozen=True)
class Extractor:
    """Log-mel features of a file's sound, (N, (2 context + 1) bins) float32; more with `difference` or `energy`."""

    rate: int = 16000
    """samples per second"""
    bins: int = 128
    """mel bins"""
    window: float = 0.025
    """seconds"""
    hop: float = 0.010
    """seconds from token to token"""
    difference: bool = False
    """append what changed since the token before (the first: zeros)"""
    energy: bool = False
    """append the log of the power over all bins"""
    context: int = 0
    """tokens before and after each one to concatenate with it; the ends repeat"""
    every: int = 1
    """keep one of this many of the concatenated tokens"""
    audio: Choice = "default"
    """which sound of a file: default (the container's), first, or a number, from 0"""
    channels: Channels = "mean"
    """what is made of several: their mean, the left or right one, or the loudest (max)"""

    def __post_init__(self) -> None:
        if self.context < 0 or self.every < 1:
            raise ValueError(f"expected context >= 0 and every >= 1; got context={self.context} every={self.every}")
        _check(self.rate, self.bins, self.window, self.hop)

    def request(self) -> SoundRequest:
        """The sound at the rate."""
        return SoundRequest(self.rate, self.audio, self.channels)

    def features(self, sound: np.ndarray) -> np.ndarray:
        """(S,) float32 to (N, F)."""
        x = log_mel(sound, rate=self.rate, bins=self.bins, window=self.window, hop=self.hop)
        parts = [x]
        if self.difference:
            parts.append(np.diff(x, axis=0, prepend=x[:1]))
        if self.energy:
            parts.append(np.logaddexp.reduce(x, axis=1, keepdims=True))
        return with_context(np.concatenate(parts, axis=1), self.context)[:: self.every]


def with_context(x: np.ndarray, context: int) -> np.ndarray:
    """(N, F) -> (N, (2 context + 1) F): each token's neighbours in their order, itself in the middle."""
    places = np.arange(len(x))[:, None] + np.arange(-context, context + 1)
    return x[places.clip(0, len(x) - 1)].reshape(len(x), -1)


def log_mel(
    sound: np.ndarray, *, rate: int = 16000, bins: int = 128, window: float = 0.025, hop: float = 0.010
) -> np.ndarray:
    """The log of the mel spectrogram's power: (S,) float32, `rate` samples a second, to (N, bins), N = S / hop.

    Token n is centred on the n-th hop, the ends are padded with zeros, and a clip shorter than one hop gives one
    token: 10 s give 1000 tokens. `window` (a Hamming window) and `hop` are in seconds. `export.sound` does the same
    in torch; this is numpy, because importing torch takes longer than extracting many clips.
    """
    _check(rate, bins, window, hop)
    length, stride = round(window * rate), round(hop * rate)
    before = (length - stride) // 2
    padded = np.pad(sound, (before, length - stride - before + max(0, stride - len(sound))))
    pieces = sliding_window_view(padded, length)[::stride]  # (N, length)
    num_fft = 2 ** math.ceil(math.log2(length))
    # In float64: numpy's Fourier transform of float32 takes six times as long.
    windows = np.zeros((len(pieces), num_fft))
    np.multiply(pieces, hamming(length), out=windows[:, :length])
    waves = np.fft.rfft(windows)  # (N, num_fft / 2 + 1)
    power = waves.real**2 + waves.imag**2
    return np.log(_triangles(rate, num_fft, bins).sums(power) + FLOOR).astype(np.float32, copy=False)


def hamming(length: int) -> np.ndarray:
    """The periodic Hamming window: (length,) float32."""
    return (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def _check(rate: int, bins: int, window: float, hop: float) -> None:
    if min(rate, bins) < 1 or not 0 < hop <= window:
        raise ValueError(f"expected rate, bins >= 1, 0 < hop <= window; got {rate=} {bins=} {window=} {hop=}")


@lru_cache(maxsize=8)
def mel_matrix(rate: int, num_fft: int, bins: int) -> np.ndarray:
    """Triangles of equal area, evenly spaced on Slaney's mel scale from 0 to rate / 2: (bins, num_fft / 2 + 1)."""
    # Slaney's scale and not HTK's: with 128 bins and 512 points HTK's lowest filters fall between two frequencies.
    edges = _to_hertz(np.linspace(0, _to_mel(rate / 2), bins + 2))  # (bins + 2,)
    frequencies = np.arange(num_fft // 2 + 1) * rate / num_fft
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    matrix = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    empty = int((matrix.sum(axis=1) == 0).sum())
    if empty:
        raise ValueError(f"{empty} of {bins} mel bins contain no frequency at {rate} Hz; use fewer bins")
    return matrix.astype(np.float32)


class _Triangles(NamedTuple):
    """The nonzero entries of a mel matrix, row by row."""

    places: np.ndarray
    """(entries,) their frequencies"""
    weights: np.ndarray
    """(entries,)"""
    begins: np.ndarray
    """(bins,) where each row's entries begin"""

    def sums(self, power: np.ndarray) -> np.ndarray:
        """(N, num_fft / 2 + 1) to (N, bins)."""
        # Not by a matrix product: its last bits depend on how many threads a process has.
        return np.add.reduceat(power[:, self.places] * self.weights, self.begins, axis=1)


@lru_cache(maxsize=8)
def _triangles(rate: int, num_fft: int, bins: int) -> _Triangles:
    matrix = mel_matrix(rate, num_fft, bins)
    rows, places = np.nonzero(matrix)
    return _Triangles(places, matrix[rows, places], np.searchsorted(rows, np.arange(bins)))


# Slaney's scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel for every factor of 6.4.
def _to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000, 6.4)


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
