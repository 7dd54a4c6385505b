"""Films of procedural textures and sounds in a folder per class, to compare raw features with pretrained encoders on.

    python benchmarks/textures.py OUT [--clips 240] [--seed 0]

Six textures and six sounds, each by its own rule, in any colours, scale, direction, light and loudness, with noise; the
camera drifts. Each of the twelve classes is a pair, and each texture and each sound occurs in two of them: who only
sees, or only hears, is right at most half of the time.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sparsefuse.media.write import write_clip

SIDE, FPS, SECONDS, RATE = 128, 10, 2.0, 16_000
Field = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(x, y) of pixels, in units of the picture's side, to brightness in about [0, 1]"""


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for i in range(options.clips):
        texture, sound = (i // 2) % 6, ((i // 2) + i % 2) % 6
        label = f"{TEXTURES[texture].__name__}+{SOUNDS[sound].__name__}".replace("_", "")
        random = np.random.default_rng([options.seed, i])
        path = options.out / label / f"{i:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, film(TEXTURES[texture], random), fps=FPS, sound=heard(SOUNDS[sound], random), sound_rate=RATE)


def film(texture: Field, random: np.random.Generator) -> np.ndarray:
    """(T, SIDE, SIDE, 3) uint8: a window that drifts over a plane of the texture."""
    angle, scale = random.uniform(0, 2 * np.pi), random.uniform(0.7, 1.4)
    drift = random.uniform(-0.15, 0.15, 2)
    dark, light = random.uniform(0, 0.5, 3), random.uniform(0.5, 1, 3)
    slope = random.uniform(-0.3, 0.3, 2)
    rule = int(random.integers(2**32))
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-0.5, 0.5, SIDE)]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frames = []
    for t in np.arange(round(SECONDS * FPS)) / FPS:
        x, y = np.tensordot(turn, grid * scale, 1) + (drift * t)[:, None, None]
        value = texture(x, y, np.random.default_rng(rule)).clip(0, 1)[..., None]
        lit = 1 + np.tensordot(slope, grid, 1)[..., None]
        frames.append((dark + (light - dark) * value) * lit + random.normal(0, 0.04, (SIDE, SIDE, 1)))
    return (255 * np.stack(frames).clip(0, 1)).astype(np.uint8)


def heard(sound: Callable[[np.random.Generator], np.ndarray], random: np.random.Generator) -> np.ndarray:
    """(S,) float32: the sound in coloured noise, at 0 to 12 dB."""
    wave, noise = sound(random), _coloured(random, random.uniform(0, 1.5))
    mixed = wave / wave.std() + noise * 10 ** (-random.uniform(0, 12) / 20)
    return (mixed * random.uniform(0.1, 0.6) / np.abs(mixed).max()).astype(np.float32)


def marble(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(14 * x + 9 * _clouds(3 * x, 3 * y, random))


def wood(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    rings = np.hypot(x - 1.5, 0.15 * y) * 12 + 1.5 * _clouds(2 * x, y, random)
    return rings % 1


def pebbles(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    near = _distances(8 * x, 8 * y, random)
    return 1.6 * (near[1] - near[0])


def bricks(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    row = np.floor(9 * y)
    across, down = (4 * x + row / 2) % 1, (9 * y) % 1
    joint = (across < 0.06) | (down < 0.12)
    return np.where(joint, 0.1, 0.6 + 0.4 * _hash(np.floor(4 * x + row / 2), row, random))


def grass(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return 0.5 + 0.9 * _clouds(60 * x + 4 * _clouds(3 * x, 3 * y, random), 4 * y, random)


def clouds(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return 0.5 + 1.2 * _clouds(3 * x, 3 * y, random)


def rain(random: np.random.Generator) -> np.ndarray:
    drops = (random.random(round(SECONDS * RATE)) < 0.02) * random.exponential(1, round(SECONDS * RATE))
    return _band(drops * random.choice([-1, 1], len(drops)), 1500, 7000)


def wind(random: np.random.Generator) -> np.ndarray:
    t = _times()
    gusts = 1 + 0.7 * np.sin(2 * np.pi * (random.uniform(0.3, 0.9) * t + random.random()))
    return gusts * _band(random.normal(size=len(t)), 150, random.uniform(400, 900))


def clock(random: np.random.Generator) -> np.ndarray:
    t, period = _times(), random.uniform(0.2, 0.5)
    since = (t + random.random()) % period
    return np.exp(-since * 300) * np.sin(2 * np.pi * random.uniform(2000, 4000) * since)


def engine(random: np.random.Generator) -> np.ndarray:
    pitch = random.uniform(35, 80) * (1 + 0.03 * np.cumsum(random.normal(size=len(_times()))) / 60)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    return sum(np.sin(k * phase + random.uniform(0, 6)) / np.sqrt(k) for k in range(1, 20))


def birds(random: np.random.Generator) -> np.ndarray:
    t, wave = _times(), np.zeros(len(_times()))
    for begin in random.uniform(0, SECONDS, 6):
        since, long = t - begin, random.uniform(0.08, 0.2)
        pitch = random.uniform(2500, 4500) + random.uniform(-8000, 8000) * since
        wave += ((since > 0) & (since < long)) * np.sin(np.pi * since / long) * np.sin(2 * np.pi * pitch * since)
    return wave


def bubbles(random: np.random.Generator) -> np.ndarray:
    t, wave = _times(), np.zeros(len(_times()))
    for begin in random.uniform(0, SECONDS, 25):
        since = np.maximum(0, t - begin)
        wave += np.exp(-since * 40) * np.sin(2 * np.pi * random.uniform(300, 1200) * since * (1 + 3 * since))
    return wave


TEXTURES = (marble, wood, pebbles, bricks, grass, clouds)
SOUNDS = (rain, wind, clock, engine, birds, bubbles)


def _times() -> np.ndarray:
    return np.arange(round(SECONDS * RATE)) / RATE


def _band(wave: np.ndarray, low: float, high: float) -> np.ndarray:
    spectrum, hertz = np.fft.rfft(wave), np.fft.rfftfreq(len(wave), 1 / RATE)
    return np.fft.irfft(spectrum * ((hertz > low) & (hertz < high)), len(wave))


def _coloured(random: np.random.Generator, power: float) -> np.ndarray:
    """Noise of unit deviation, whose spectrum falls with this power of the frequency."""
    spectrum = np.fft.rfft(random.normal(size=len(_times())))
    wave = np.fft.irfft(spectrum * np.arange(1, len(spectrum) + 1) ** (-power / 2), len(_times()))
    return wave / wave.std()


def _hash(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A number in [0, 1) for each whole (x, y)."""
    table = random.random((64, 64))
    return table[x.astype(int) % 64, y.astype(int) % 64]


def _clouds(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Fractal value noise, about 0: four octaves."""
    table, total = random.random((64, 64)) - 0.5, np.zeros(x.shape)
    for octave in range(4):
        u, v = x * 2**octave, y * 2**octave
        i, j = np.floor(u).astype(int), np.floor(v).astype(int)
        a, b = (smooth * smooth * (3 - 2 * smooth) for smooth in (u - i, v - j))
        corner = [[table[(i + di) % 64, (j + dj) % 64] for dj in (0, 1)] for di in (0, 1)]
        left, right = (side[0] * (1 - b) + side[1] * b for side in corner)
        total += (left * (1 - a) + right * a) / 2**octave
    return total


def _distances(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(2, ...): how far the nearest and the second nearest of scattered points are, one in each unit square."""
    shift, near = random.random((2, 64, 64)), []
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            i, j = np.floor(x).astype(int) + di, np.floor(y).astype(int) + dj
            right, down = shift[:, i % 64, j % 64]
            near.append(np.hypot(i + right - x, j + down - y))
    return np.sort(near, axis=0)[:2]


if __name__ == "__main__":
    main()
