"""Sound files for the tests of data."""

import wave
from pathlib import Path

import numpy as np


def write_sound(path: Path, seconds: float, *, peak: float = 0.5, seed: int = 0, rate: int = 8000) -> str:
    """Noise, mono, of 16 bits; gives the file's name."""
    samples = np.random.default_rng(seed).uniform(-peak, peak, round(rate * seconds))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path.name
