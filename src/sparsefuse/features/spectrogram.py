"""A wave comes in, a log-mel spectrogram comes out: one token per 10 ms, as in the SFT paper (section 4.1)."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sparsefuse.media import SoundRequest

SOURCE = "audio"
_FLOOR = 1e-6  # keeps the log of digital silence finite


@dataclass(frozen=True)
class Extractor:
    """Log-mel features of a file's sound, (N, (2 context + 1) bins) float32."""

    rate: int = 16000
    """samples per second"""
    bins: int = 128
    """mel bins"""
    window: float = 0.025
    """seconds"""
    hop: float = 0.010
    """seconds from token to token"""
    context: int = 0
    """join to each token the so many before and after it; the ends repeat"""
    every: int = 1
    """of the joined tokens, keep one in so many"""

    def __post_init__(self) -> None:
        if self.context < 0 or self.every < 1:
            raise ValueError(f"expected context >= 0 and every >= 1; got context={self.context} every={self.every}")
        _check(self.rate, self.bins, self.window, self.hop)

    def request(self) -> SoundRequest:
        """The sound at the rate."""
        return SoundRequest(self.rate)

    def features(self, found: np.ndarray) -> np.ndarray:
        """(S,) float32 to (N, (2 context + 1) bins)."""
        made = log_mel(torch.from_numpy(found), rate=self.rate, bins=self.bins, window=self.window, hop=self.hop)
        return with_context(made, self.context)[:: self.every].numpy()


def with_context(x: Tensor, context: int) -> Tensor:
    """(N, F) -> (N, (2 context + 1) F): each token's neighbours in their order, itself in the middle."""
    places = torch.arange(len(x))[:, None] + torch.arange(-context, context + 1)
    return x[places.clamp(0, len(x) - 1)].flatten(1)


def log_mel(sound: Tensor, *, rate: int = 16000, bins: int = 128, window: float = 0.025, hop: float = 0.010) -> Tensor:
    """The log of the mel spectrogram's power: (..., S) float, `rate` samples a second, to (..., N, bins), N = S / hop.

    Token n is centred on the n-th hop, the ends are padded with zeros, and a clip shorter than one hop gives one
    token: 10 s give 1000 tokens. `window` (a Hamming window) and `hop` are in seconds.
    """
    _check(rate, bins, window, hop)
    taper = torch.hamming_window(round(window * rate), dtype=sound.dtype, device=sound.device)
    return of_windows(tapered(sound, taper, stride=round(hop * rate)), rate=rate, bins=bins)


def tapered(sound: Tensor, taper: Tensor, *, stride: int) -> Tensor:
    """The windows that tokens are made of: (..., S), weights (L,) -> (..., N, L)."""
    length = len(taper)
    if sound.shape[-1] < stride:
        sound = functional.pad(sound, (0, stride - sound.shape[-1]))
    before = (length - stride) // 2
    return functional.pad(sound, (before, length - stride - before)).unfold(-1, length, stride) * taper


def of_windows(windows: Tensor, *, rate: int, bins: int) -> Tensor:
    """The log of the mel power of windows (..., N, L): (..., N, bins)."""
    num_fft = 2 ** math.ceil(math.log2(windows.shape[-1]))
    # Not torch.stft: it puts a guard on the number of tokens that torch.export cannot meet.
    power = torch.fft.rfft(windows, num_fft).abs().square()  # (..., N, num_fft / 2 + 1)
    mel = torch.from_numpy(mel_matrix(rate, num_fft, bins)).to(power)  # (bins, num_fft / 2 + 1)
    return (functional.linear(power, mel) + _FLOOR).log()


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


# Slaney's scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel for every factor of 6.4.
def _to_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000, 6.4)


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
