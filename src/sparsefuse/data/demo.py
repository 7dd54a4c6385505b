"""The demo data set: renders video files with picture and sound, and their manifest.

A class is a pair: what is seen (a light that moves across, up and down, or in a circle) and what is heard (a hum,
chirps, or knocks). Picture and sound are drawn independently of each other, each class equally often, so one
modality alone gets at most a third of the clips right. Both repeat their pattern many times over noise, which is
what sparse fusion feeds on.
"""

import csv
import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.progress import track

from sparsefuse.errors import unknown
from sparsefuse.files.whole import replacing
from sparsefuse.media.write import write_clip

MOTIONS = ("across", "circle", "updown")
SOUNDS = ("chirp", "hum", "knock")
CLASSES = tuple(f"{motion}+{sound}" for motion, sound in itertools.product(MOTIONS, SOUNDS))

FPS = 10
SIZE = 64
SOUND_RATE = 16_000


def render(out: Path, *, clips: int = 360, seconds: float = 4.0, seed: int = 0, progress: bool = True) -> Path:
    """Writes `clips` videos and `manifest.csv` (id, video, label, split) into the folder `out`; returns the manifest.

    Classes are even; every class is split 60/15/25 into train, valid and test. The same arguments give the same clips.
    """
    out = Path(out)
    if clips < 3 * len(CLASSES):
        raise ValueError(f"the demo needs {3 * len(CLASSES)} clips or more, 3 of each of its classes; got {clips}")
    manifest = out / "manifest.csv"
    manifest.unlink(missing_ok=True)  # it is written last: a folder that has one is complete
    rows = [(f"clip_{i:04d}", label, split) for i, (label, split) in enumerate(_labels_and_splits(clips, seed))]
    paths = [out / "clips" / f"{name}.mp4" for name, _, _ in rows]
    labels = [label for _, label, _ in rows]
    seeds = [[seed, i] for i in range(clips)]
    with ThreadPoolExecutor() as pool:  # threads are enough: encoding does not hold Python's lock
        written = pool.map(_write, paths, labels, [seconds] * clips, seeds)
        for _ in track(written, "Rendering clips", total=clips, disable=not progress):
            pass
    with replacing(manifest) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("id", "video", "label", "split"))
        table.writerows((name, f"clips/{name}.mp4", label, split) for name, label, split in rows)
    return manifest


def fresh_clip(out: Path, *, label: str, seed: int, seconds: float = 4.0) -> Path:
    """Writes one new clip of class `label` to the file `out`; no rendered set has it, whatever the seed."""
    if label not in CLASSES:
        raise ValueError(unknown("demo class", label, CLASSES))
    _write(Path(out), label, seconds, [seed, 2**32 - 1])  # an index that no set reaches
    return Path(out)


def picture(motion: str, rng: np.random.Generator, *, seconds: float = 4.0) -> np.ndarray:
    """(T, SIZE, SIZE, 3) uint8: a light in `motion` over a dim, noisy scene with lights that stand still."""
    t = np.arange(round(seconds * FPS)) / FPS
    angle = 2 * np.pi * (rng.uniform(0.5, 0.9) * t * rng.choice([-1, 1]) + rng.random())
    reach_x, reach_y = rng.uniform(15, 20) * np.array({"across": (1, 0), "updown": (0, 1), "circle": (1, 1)}[motion])
    x0, y0 = SIZE / 2 + rng.uniform(-4, 4, 2)
    light = _spot(x0 + reach_x * np.cos(angle), y0 + reach_y * np.sin(angle), rng.uniform(4, 5.5))
    scene = _scene(rng)
    frames = scene + light[..., None] * _colour(rng) + rng.normal(0, 0.06, (len(t), SIZE, SIZE, 1))
    return (255 * frames.clip(0, 1)).round().astype(np.uint8)


def sound(pattern: str, rng: np.random.Generator, *, seconds: float = 4.0) -> np.ndarray:
    """(S,) float32 in [-1, 1]: `pattern` repeated at a random rate, in coloured noise with a steady tone."""
    wave = _noise(round(seconds * SOUND_RATE), rng) * rng.uniform(0.03, 0.12)
    t = np.arange(len(wave)) / SOUND_RATE
    wave += rng.uniform(0.02, 0.08) * np.sin(2 * np.pi * (rng.uniform(200, 3000) * t + rng.random()))
    period = rng.uniform(0.25, 0.45)
    event = {"chirp": _chirp, "hum": _hum, "knock": _knock}[pattern](rng)
    for start in np.arange(-rng.random() * period, seconds, period):
        first = max(round(start * SOUND_RATE), 0)
        wave[first : first + len(event)] += event[: len(wave) - first]
    return (wave * rng.uniform(0.15, 0.6) / np.abs(wave).max()).astype(np.float32)


def _labels_and_splits(clips: int, seed: int) -> list[tuple[str, str]]:
    """Label and split of every clip, in random order."""
    pairs = []
    for c, label in enumerate(CLASSES):
        count = len(range(c, clips, len(CLASSES)))
        train, valid = int(0.6 * count), max(1, int(0.15 * count))
        pairs += [(label, "train" if k < train else "valid" if k < train + valid else "test") for k in range(count)]
    return [pairs[i] for i in np.random.default_rng([seed, 2**32 - 2]).permutation(clips)]


def _write(path: Path, label: str, seconds: float, entropy: list[int]) -> None:
    """One clip. Two generators, so that neither modality's randomness depends on the other's class."""
    motion, pattern = label.split("+")
    pixels = picture(motion, np.random.default_rng([*entropy, 1]), seconds=seconds)
    wave = sound(pattern, np.random.default_rng([*entropy, 2]), seconds=seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, pixels, fps=FPS, sound=wave, sound_rate=SOUND_RATE)


def _spot(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """(T, SIZE, SIZE): a soft round spot around every (x, y)."""
    grid = np.arange(SIZE)
    row = np.exp(-(((grid - x[:, None]) / radius) ** 2))
    column = np.exp(-(((grid - y[:, None]) / radius) ** 2))
    return column[:, :, None] * row[:, None, :]


def _colour(rng: np.random.Generator) -> np.ndarray:
    """(3,): any hue, but always of about the same brightness."""
    colour = rng.uniform(0.2, 1, 3)
    return 0.7 * colour / (colour @ (0.299, 0.587, 0.114))


def _scene(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE, 3): a dim gradient of random colour and direction, with two spots that stand still."""
    slope = np.linspace(-1, 1, SIZE)[:, None] * rng.uniform(-1, 1) + np.linspace(-1, 1, SIZE) * rng.uniform(-1, 1)
    scene = (0.2 + 0.06 * slope)[..., None] * _colour(rng) / 0.7
    spots = _spot(rng.uniform(0, SIZE, 2), rng.uniform(0, SIZE, 2), rng.uniform(3, 6))
    return scene + sum(0.3 * spot[..., None] * _colour(rng) for spot in spots)


def _noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """(length,): noise between white and pink, of unit deviation."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    spectrum *= np.arange(1, len(spectrum) + 1) ** -rng.uniform(0, 0.5)
    wave = np.fft.irfft(spectrum, length)
    return wave / wave.std()


def _chirp(rng: np.random.Generator) -> np.ndarray:
    """A tone that sweeps up by more than an octave."""
    t = np.arange(round(rng.uniform(0.08, 0.14) * SOUND_RATE)) / SOUND_RATE
    pitch = rng.uniform(800, 1300) * rng.uniform(2.2, 3) ** (t / t[-1])
    return np.sin(2 * np.pi * np.cumsum(pitch) / SOUND_RATE) * np.hanning(len(t))


def _hum(rng: np.random.Generator) -> np.ndarray:
    """A low tone with overtones."""
    t = np.arange(round(rng.uniform(0.12, 0.2) * SOUND_RATE)) / SOUND_RATE
    pitch = rng.uniform(110, 200)
    return sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 7)) * np.hanning(len(t))


def _knock(rng: np.random.Generator) -> np.ndarray:
    """A burst of white noise that dies away."""
    t = np.arange(round(0.12 * SOUND_RATE)) / SOUND_RATE
    return 1.2 * rng.normal(size=len(t)) * np.exp(-t / rng.uniform(0.015, 0.03))
