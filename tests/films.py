"""Small films of three classes, which tones tell apart."""

from pathlib import Path

import numpy as np

from sparsefuse.media.write import write_clip

TONES = {"low": 300, "middle": 900, "high": 2500}  # Hz


def write_film(path: Path, tone: int, seed: int) -> None:
    """Half a second of a moving square, and a tone with a little noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 120, (5, 32, 32, 3), dtype=np.uint8)
    for t in range(5):
        pixels[t, 4 * t : 4 * t + 8, 8:16] = 220
    sound = 0.3 * np.sin(2 * np.pi * tone * np.arange(8000) / 16000) + 0.02 * random.standard_normal(8000)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, pixels, fps=10, sound=sound.astype(np.float32))


def write_films(folder: Path) -> None:
    """Writes films/<class>/<i>.mp4, eight of each class, and new.mp4, which sounds `high`."""
    for number, (label, tone) in enumerate(TONES.items()):
        for i in range(8):
            write_film(folder / "films" / label / f"{i}.mp4", tone, 10 * number + i)
    write_film(folder / "new.mp4", TONES["high"], 99)
