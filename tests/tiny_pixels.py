"""A few small scenes on disk whose colours and depths tell their labels, and the smallest model that trains on them."""

from pathlib import Path

import numpy as np

from pngs import write_png
from sparsefuse.config import Config
from sparsefuse.files.rows import write_table

SIZE = {
    "segment": {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1],
                "patches": [[7, 4], [3, 2]], "head_dim": 8},
    "translate": {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1],
                  "patches": [[3, 2], [3, 2]]},
}  # fmt: skip


def write_scenes(folder: Path, counts: tuple[int, int, int] = (6, 2, 3), *, side: int = 16) -> Path:
    """A manifest; pictures of a patch before a wall. Labels are wall, patch, or 255 in the first row. The second scene
    of every split has no depth, the last training one is smaller."""
    random, rows = np.random.default_rng(0), []
    for split, count in zip(("train", "valid", "test"), counts, strict=True):
        for i in range(count):
            high = side - 4 if (split, i) == ("train", count - 1) else side
            top, left = random.integers(0, high // 2, 2)
            label = np.zeros((high, side), np.uint8)
            label[top : top + high // 2, left : left + side // 2] = 1
            noise = random.integers(0, 40, (high, side, 3))
            patch = label.astype(np.int64)
            made = {
                "rgb": (60 + 120 * patch[..., None] + noise).astype(np.uint8),
                "depth": (3000 - 1500 * patch + noise[..., 0]).astype(np.uint16),
                "target": (200 - 100 * patch[..., None] + noise).astype(np.uint8),
                "label": label,
            }
            label[0] = 255
            row = {"id": f"{split}{i}", "split": split}
            for name, picture in made.items():
                if (i, name) == (1, "depth"):
                    row[name] = ""
                    continue
                row[name] = f"{name}/{split}{i}.png"
                write_png(folder / row[name], picture)
            rows.append(row)
    write_table(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def config(manifest: Path, method: str = "tokenfusion", *, task: str = "segment", **changes) -> Config:
    """Two epochs of batches of 2 on the CPU."""
    train = {"epochs": 2, "batch_size": 2, "device": "cpu", "lr": 0.01, **changes.pop("train", {})}
    label = "target" if task == "translate" else "label"
    data = {
        "manifest": str(manifest), "task": task, "modalities": ["rgb", "depth"], "label": label, "leaks": "warn",
        **changes.pop("data", {}),
    }  # fmt: skip
    options = {"all": {"size": SIZE[task]}, **changes.pop("options", {})}
    return Config.load(data=data, train=train, method=method, options=options, **changes)
