"""Rooms to look at, and how fast they are generated.

    python benchmarks/rooms.py             writes results/benchmark-rooms/rooms.{csv,md}
    python benchmarks/rooms.py --sheet     writes docs/images/rooms.png

Run from the repository's root.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from sparsefuse.files.whole import write_text
from sparsefuse.media.png import write_png
from sparsefuse.rooms import CLASSES, Room, room
from sparsefuse.rooms.camera import to_pixels
from sparsefuse.shown import markdown_table

PALETTE = np.array(
    [(200, 200, 200), (120, 90, 60), (235, 235, 255), (255, 0, 0), (255, 160, 0), (0, 120, 255), (0, 220, 220),
     (0, 160, 0), (160, 255, 80), (200, 0, 200)], np.uint8,
)  # fmt: skip


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sheet", action="store_true")
    parser.add_argument("--rows", type=int, default=4, help="scenes of the sheet")
    parser.add_argument("--size", type=int, help="of a picture; 96, on the sheet 72")
    parser.add_argument("--first", type=int, default=20, help="seed of the first scene")
    parser.add_argument("--scenes", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.sheet:
        out = options.out or Path("docs/images/rooms.png")
        write_png(out, sheet(range(options.first, options.first + options.rows), options.size or 72))
        print(out, out.stat().st_size, "bytes")
        return
    size = options.size or 96
    lines = [rate(size, options.scenes, options.rounds), *shares(size, options.scenes)]
    out = options.out or Path("results/benchmark-rooms")
    write_text(out / "rooms.csv", "".join(["what,value\n", *(f"{name},{value:.4g}\n" for name, value in lines)]))
    table = markdown_table([("", ""), *((name, f"{value:.4g}") for name, value in lines)], (":--", "--:"))
    told = f"{options.scenes} scenes of {size} x {size}; rate: of processor time, median of {options.rounds} rounds."
    write_text(out / "rooms.md", f"# benchmark-rooms\n\n{table}\n{told}\n")
    print(table)


def rate(size: int, scenes: int, rounds: int) -> tuple[str, float]:
    """Scenes per second of one core."""
    rates = []
    for _ in range(rounds):
        start = time.process_time()
        for seed in range(scenes):
            room(seed, size, size)
        rates.append(scenes / (time.process_time() - start))
    return "scenes per second of a core", statistics.median(rates)


def shares(size: int, scenes: int) -> list[tuple[str, float]]:
    """Of the pixels: each class, and what the sensors lose."""
    classes, lost, white = np.zeros(len(CLASSES)), 0.0, 0.0
    for seed in range(scenes):
        scene = room(seed, size, size)
        classes += np.bincount(scene.label.ravel(), minlength=len(CLASSES))
        lost += float((scene.sensor == 0).mean())
        white += float((scene.rgb >= 250).all(-1).mean())
    told = [
        (f"share of pixels: {name}", float(count / classes.sum())) for name, count in zip(CLASSES, classes, strict=True)
    ]
    return [*told, ("share of pixels without depth", lost / scenes), ("share of pixels in glare", white / scenes)]


def sheet(seeds: range, size: int) -> np.ndarray:
    """A row per scene: rgb, depth as measured, normals, shade, texture, edges, without the camera's faults, labels with
    boxes."""
    return np.concatenate([np.concatenate(_row(room(seed, size, size)), 1) for seed in seeds])


def _row(scene: Room) -> list[np.ndarray]:
    near = np.where(scene.sensor > 0, 1 - scene.sensor / 8000, 0)
    normals = ((scene.normal + 1) * 127.5).astype(np.uint8)
    pictures = [scene.rgb, near, normals, scene.shade, scene.texture, scene.edges, scene.clear]
    labels = PALETTE[scene.label] // 2
    for points, label in zip(_frames(scene), scene.boxes.label, strict=True):
        labels[points[:, 1], points[:, 0]] = PALETTE[label]
    return [*(each if each.ndim == 3 else _gray(each) for each in pictures), labels]


def _gray(picture: np.ndarray) -> np.ndarray:
    return np.repeat((np.clip(picture, 0, 1) * 255).astype(np.uint8)[..., None], 3, -1)


def _frames(scene: Room) -> list[np.ndarray]:
    """The pixels (n, 2) of each box's edges."""
    unit = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    pairs = [(i, j) for i in range(8) for j in range(i) if np.abs(unit[i] - unit[j]).sum() == 1]
    along = np.linspace(0, 1, 200)[:, None]
    frames = []
    for centre, size, yaw in zip(scene.boxes.centre, scene.boxes.size, scene.boxes.yaw, strict=True):
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        corners = unit * size @ turn.T + centre
        lines = np.concatenate([corners[i] * along + corners[j] * (1 - along) for i, j in pairs])
        seen = to_pixels(scene.camera, lines)
        pixels = np.rint(seen[seen[:, 2] > 0.1, :2]).astype(int)
        inside = ((pixels >= 0) & (pixels < scene.label.shape[::-1])).all(1)
        frames.append(pixels[inside])
    return frames


if __name__ == "__main__":
    main()
