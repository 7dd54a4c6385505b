"""Rooms to look at, how fast they are generated, and what perfect readers of some streams could say of them.

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
from sparsefuse.rooms.paints import HUE, HUE_SPREAD, PATTERNS
from sparsefuse.shown import markdown_table

PALETTE = np.array(
    [(200, 200, 200), (120, 90, 60), (235, 235, 255), (255, 0, 0), (255, 160, 0), (0, 120, 255), (0, 220, 220),
     (0, 160, 0), (160, 255, 80), (200, 0, 200)], np.uint8,
)  # fmt: skip

SHAPE = np.array([0, 1, 2, 0, 1, 3, 3, 4, 4, 5])
"""Class -> what shape alone says of it."""
PARTS = {"clear": slice(3), "rgb": slice(3, 6)}


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
    lines = [rate(size, options.scenes, options.rounds), *shares(size, options.scenes), *readers(48, options.scenes)]
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


def readers(size: int, scenes: int) -> list[tuple[str, float]]:
    """The best that can be said pixel by pixel of what is read off streams without a fault: mIoU of the classes by
    shape, and the mean absolute error of `clear` and `rgb`, of 0 to 1, by shape and light, by pattern, and by both."""
    columns, targets, labels = [], [], []
    for scene in (room(seed, size, size) for seed in range(scenes)):
        labels.append(scene.label.ravel())
        light, on = (scene.shade * 24).astype(int), np.rint(3 * scene.texture).astype(int)
        columns.append(np.stack([SHAPE[scene.label], light, _pattern(scene.albedo), on], -1).reshape(-1, 4))
        targets.append(np.concatenate([scene.clear, scene.rgb], 2).reshape(-1, 6) / 255)
    column, target, label = np.concatenate(columns), np.concatenate(targets), np.concatenate(labels)
    told = [("mIoU by shape", _iou(_groups(column[:, :1]), label))]
    for name, chosen in {
        "nothing": [],
        "shape and light": [0, 1],
        "pattern": [2, 3],
        "all of them": [0, 1, 2, 3],
    }.items():
        off = np.concatenate([np.abs(target[g] - np.median(target[g], 0)) for g in _groups(column[:, chosen])])
        told += [(f"error of {what} by {name}", float(off[:, part].mean())) for what, part in PARTS.items()]
    return told


def _groups(keys: np.ndarray) -> list[np.ndarray]:
    """Numbers of the rows that are equal."""
    if not keys.shape[1]:
        return [np.arange(len(keys))]
    number = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1)


def _iou(groups: list[np.ndarray], label: np.ndarray) -> float:
    """Mean over the classes, if every group is called by its commonest class."""
    said = np.zeros_like(label)
    for group in groups:
        said[group] = np.bincount(label[group]).argmax()
    both, either = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
    for number in range(len(CLASSES)):
        both[number] = ((said == number) & (label == number)).sum()
        either[number] = ((said == number) | (label == number)).sum()
    return float((both / either).mean())


def _pattern(albedo: np.ndarray) -> np.ndarray:
    """(H, W) the pattern of a paint, by its hue."""
    most, least = albedo.max(-1), albedo.min(-1)
    red, green, blue = np.moveaxis(albedo, -1, 0)
    turn = np.select([most == red, most == green], [(green - blue), (blue - red)], red - green)
    turn = turn / np.maximum(most - least, 1e-6) + np.select([most == red, most == green], [0, 2], 4)
    hues = np.array([HUE[pattern] + HUE_SPREAD / 2 for pattern in PATTERNS])
    return np.abs((turn[..., None] / 6 - hues + 0.5) % 1 - 0.5).argmin(-1)


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
