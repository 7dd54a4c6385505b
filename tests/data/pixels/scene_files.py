"""Small sets of scenes as files, for tests."""

from pathlib import Path

import numpy as np

from pngs import write_png
from sparsefuse.config import Config
from sparsefuse.files.rows import write_table


def write_scenes(folder: Path, count: int = 10, *, height: int = 6, width: int = 8) -> list[dict[str, str]]:
    """Rows with rgb (8 bits), depth (16 bits, mm) and label (0 to 2, and 255) pictures that all differ; 6 of 10 train,
    2 validate."""
    random = np.random.default_rng(0)
    rows = []
    for i in range(count):
        split = "train" if i % 10 < 6 else "valid" if i % 10 < 8 else "test"
        row = {"id": f"s{i:02d}", "split": split}
        for name in ("rgb", "depth", "label"):
            row[name] = f"{name}/{i:02d}.png"
        write_png(folder / row["rgb"], random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        write_png(folder / row["depth"], random.integers(0, 5000, (height, width), dtype=np.uint16))
        labels = random.integers(0, 3, (height, width), dtype=np.uint8)
        labels[0, 0], labels[0, 1] = 255, 2
        write_png(folder / row["label"], labels)
        rows.append(row)
    return rows


def config(folder: Path, rows: list[dict[str, str]], **changes) -> Config:
    """A segmentation of these rows; `changes` as `Config.load` takes them."""
    write_table(folder / "manifest.csv", rows)
    data = {"manifest": str(folder / "manifest.csv"), "task": "segment", **changes.pop("data", {})}
    return Config.load(data=data, **changes)
