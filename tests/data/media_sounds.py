"""Sound files for the tests of data."""

import wave
from pathlib import Path

import numpy as np


def write_sound(path: Path, seconds: float, *, peak: float = 0.5, seed: int = 0, rate: int = 8000) -> str:
    """Noise, mono, of 16 bits; gives the file's name."""
    write_channels(path, np.random.default_rng(seed).uniform(-peak, peak, (1, round(rate * seconds))), rate)
    return path.name


def write_channels(path: Path, samples: np.ndarray, rate: int = 8000) -> None:
    """(channels, S) as a wav of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.T * 32767).round().astype("<i2").tobytes())
