"""The network of aiSFX, for sound effects: log-mel spectrograms (B, 100, 96) in, tokens (B, 12, 512) out.

Ma and Lerch, Representation Learning for the Automatic Indexing of Sound Effects Libraries, ISMIR 2022: eight 3 x 3
convolutions, trained to tell the categories of many libraries of effects.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

RATE = 44100
FRAMES = 100
"""Columns of the spectrogram that the network reads at once."""
_WINDOW, _HOP, _BINS = 2048, 1024, 96
_HIGHEST = 9.457798957824707  # of all spectrograms in training; the lowest is 0


class SoundEffectsNet(nn.Sequential):
    """All but the classifiers and the maximum over time before them."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for width, channels in pairwise((1, 64, 128, 256, 512)):
            for one in (width, channels):
                layers += [nn.Conv2d(one, channels, 3, padding=1), nn.ReLU(inplace=True)]
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers[:-1])

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[:, None]).mean(3).transpose(1, 2)  # over frequency

    def load(self, tensors: Iterable[Tensor]) -> None:
        """From the tensors of a state dict in their order: the kernels of two convolutions, then five of each for its
        normalisation, the last of them a counter."""
        source = iter(tensors)
        convolutions = [layer for layer in self if isinstance(layer, nn.Conv2d)]
        for pair in zip(convolutions[::2], convolutions[1::2], strict=True):
            kernels = next(source), next(source)
            for layer, kernel in zip(pair, kernels, strict=True):
                gain, bias, mean, var, _ = (next(source) for _ in range(5))
                shaped = kernel.view_as(layer.weight)
                layer.weight, layer.bias = fuse_conv_bn_weights(shaped, None, mean, var, 1e-5, gain, bias)


class SoundFrontEnd:
    """From sound to the network's input, as a feature extractor of transformers is called."""

    sampling_rate = RATE
    chunk_length = FRAMES * _HOP / RATE
    """seconds"""

    def __call__(self, sounds: Sequence[np.ndarray], **_: object) -> dict[str, Tensor]:
        """Sounds of at most `chunk_length` each: (B, FRAMES, 96), silence after them."""
        return {"input_features": torch.from_numpy(np.stack([_log_mel(sound) for sound in sounds]))}


def _log_mel(sound: np.ndarray) -> np.ndarray:
    """(S,) to (FRAMES, 96) float32; a frame's middle is a multiple of the hop, the first at 0."""
    padded = np.zeros(FRAMES * _HOP + _WINDOW)
    padded[_WINDOW // 2 :][: len(sound)] = sound[: FRAMES * _HOP]
    frames = sliding_window_view(padded, _WINDOW)[::_HOP][:FRAMES]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW))) ** 2
    mel = np.einsum("tf,bf->tb", power, _triangles())  # not by BLAS: its last bits depend on the number of threads
    return (np.log10(1e4 * mel + 1) / _HIGHEST).astype(np.float32)


@lru_cache(maxsize=1)
def _triangles() -> np.ndarray:
    """Triangles on HTK's mel scale, each of sum 1: (96, 1025)."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(_WINDOW, 1 / RATE) / 700)
    edges = np.linspace(0, mel[-1], _BINS + 2)[:, None]
    step = mel[-1] / (_BINS + 1)
    triangles = np.maximum(0, 1 - np.abs(mel - edges[1:-1]) / step)
    return triangles / triangles.sum(1, keepdims=True)
