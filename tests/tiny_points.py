"""A few small scenes on disk, in which paint alone tells one class from another, and the smallest detector."""

import json
from pathlib import Path

import numpy as np

from pngs import write_png
from sparsefuse.config import Config
from sparsefuse.files.rows import write_table
from sparsefuse.rooms.camera import Camera, to_pixels

SIZE = {
    "like": "tiny", "dim": 16, "num_heads": 2, "hidden": 24, "layers": 1, "proposals": 10,
    "levels": [[32, 0.5, 8, [8, 8]], [24, 0.8, 6, [8, 12]], [12, 1.5, 4, [8, 12]], [6, 2.5, 4, [8, 12]]],
    "picture": {"dim": 12, "num_heads": 2, "grid": (2, 2), "detections": 4},
}  # fmt: skip
SIDE = 16
K = np.array([[12.0, 0, 7.5], [0, 12, 7.5], [0, 0, 1]])
PAINT = {"crate": (200, 30, 30), "drum": (30, 30, 200)}


def pose(i: int) -> np.ndarray:
    """Cameras side by side at low y, which look along it: right, down, forward are x, -z, y."""
    return np.array([[1.0, 0, 0, 0.3 * i], [0, 0, 1, -0.5], [0, -1, 0, 0.8], [0, 0, 0, 1]])


def box_points(random: np.random.Generator, centre: np.ndarray, size: np.ndarray, yaw: float, count: int) -> np.ndarray:
    own = (random.random((count, 3)) - 0.5) * size
    face = random.integers(0, 3, count)
    own[np.arange(count), face] = np.sign(own[np.arange(count), face]) * size[face] / 2
    c, s = np.cos(yaw), np.sin(yaw)
    return own @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + centre


def write_clouds(folder: Path, counts: tuple[int, int, int] = (6, 2, 3), *, frames: int = 2, points: int = 90) -> Path:
    """A manifest; clouds of a floor and two boxes, which wear the paint of their class in pictures and points. The
    second scene of every split has no picture."""
    random, rows = np.random.default_rng(0), []
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        for i in range(count):
            name = f"{split}{i}"
            boxes, xyz, rgb = [], [], []
            for x in (-0.7, 0.7):
                size = random.uniform(0.5, 0.8, 3)
                centre = np.array([x, random.uniform(1.6, 2.2), size[2] / 2])
                label, yaw = str(random.choice(list(PAINT))), float(random.uniform(-1, 1))
                xyz.append(box_points(random, centre, size, yaw, points // 3))
                rgb.append(np.tile(PAINT[label], (points // 3, 1)))
                boxes.append({"class": label, "centre": centre.tolist(), "size": size.tolist(), "yaw": yaw})
            floor = np.stack([random.uniform(-1.5, 1.5, points // 3), random.uniform(1, 3, points // 3),
                              np.zeros(points // 3)], 1)  # fmt: skip
            cloud = np.concatenate([*xyz, floor]).astype(np.float32)
            colors = np.concatenate([*rgb, np.full((points // 3, 3), 128)]).astype(np.uint8)
            for part in ("cloud", "boxes", "cameras"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            np.savez(folder / f"cloud/{name}.npz", xyz=cloud, rgb=colors)
            (folder / f"boxes/{name}.json").write_text(json.dumps(boxes))
            row = {"id": name, "split": split, "cloud": f"cloud/{name}.npz", "cameras": "",
                   "boxes": f"boxes/{name}.json"}  # fmt: skip
            if i != 1:
                row["cameras"] = f"cameras/{name}.json"
                cameras = []
                for c in range(frames):
                    write_png(folder / f"rgb/{name}_{c}.png", picture(cloud, colors, pose(c)))
                    cameras.append({"picture": f"rgb/{name}_{c}.png", "size": [SIDE, SIDE], "K": K.tolist(),
                                    "pose": pose(c).tolist()})  # fmt: skip
                (folder / row["cameras"]).write_text(json.dumps(cameras))
            rows.append(row)
    return write_table(folder / "manifest.csv", rows)


def picture(xyz: np.ndarray, rgb: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Gray, and the colour of each point where it falls."""
    pixels = np.full((SIDE, SIDE, 3), 90, np.uint8)
    u, v, depth = to_pixels(Camera(K, at), xyz).T
    for column, row, z, color in zip(u, v, depth, rgb, strict=True):
        if z > 0 and -0.5 <= column < SIDE - 0.5 and -0.5 <= row < SIDE - 0.5:
            pixels[round(row), round(column)] = color
    return pixels


def config(manifest: Path, method: str = "painted", **changes) -> Config:
    """Two epochs of batches of 2 on the CPU."""
    train = {"epochs": 2, "batch_size": 2, "device": "cpu", "lr": 0.01, **changes.pop("train", {})}
    data = {"manifest": str(manifest), "task": "detect", **changes.pop("data", {})}
    points = {"num_points": 64, **changes.pop("points", {})}
    options = {"all": {"size": SIZE}, **changes.pop("options", {})}
    return Config.load(data=data, train=train, method=method, options=options, points=points, **changes)
