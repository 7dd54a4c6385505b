"""Table and objects in real pictures of a Kinect, and what half of the depth picture is worth.

    python benchmarks/mosd.py ../shared/data/dense/mosd     writes results/mosd/cpu-torch<ver>-float32.{csv,md}

The source: `manifest.csv` (id, split learn or test, rgb, depth, instance), where an instance is 0 for nothing, 1 for
the table, and from 2 an object. Every fifth picture of learn validates. Not a benchmark: a plane fitted to the depth
finds table and objects alone. A rerun trains what is missing.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import sparsefuse
from sparsefuse.files.rows import csv_text, read_table, write_table
from sparsefuse.files.whole import write_text
from sparsefuse.inference.pixels.evaluate import evaluate_pixels
from sparsefuse.media.png import write_png
from sparsefuse.media.still import read_still
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.shown import markdown_table

VOID = 255
METHODS = ["unimodal", "early", "sft"]
CONFIG: dict[str, Any] = {
    "data": {"task": "segment", "modalities": ["depth", "rgb"], "modality_dropout": 0.2},
    "pixels": {
        "streams": {
            "depth": {"kind": "depth", "unit": 0.001},
            "rgb": {"kind": "color", "brightness": 0.2, "contrast": 0.2},
        },
        "classes": ["table", "object"],
        "height": 120,
        "width": 160,
        "flip": 0.5,
        "holes": 0.5,
    },
    "options": {"all": {"size": "tiny"}},
    "train": {
        "epochs": 50, "batch_size": 6, "lr": 2e-3, "schedule": "cosine", "warmup_epochs": 2, "weight_decay": 0.01,
        "clip": 1.0, "mixup_alpha": 0,
    },
}  # fmt: skip


class Scored(NamedTuple):
    """What a run says of the test pictures."""

    name: str
    seed: int
    scores: dict[str, float]
    gmacs: float


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/mosd"))
    parser.add_argument("--out", type=Path, default=Path("results/mosd"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--epochs", type=int, default=CONFIG["train"]["epochs"])
    parser.add_argument("--trained", action="store_true", help="score the runs that are there, and train none")
    given = parser.parse_args()
    manifest, halved = prepare(given.source, given.runs / "pictures")
    config = {
        **CONFIG,
        "data": {**CONFIG["data"], "manifest": str(manifest)},
        "train": {**CONFIG["train"], "epochs": given.epochs},
    }
    if not given.trained:
        sparsefuse.compare(config, given.methods, list(range(given.seeds)), given.runs / "compared")
    runs = list(scored(given.runs / "compared", halved))
    lines = [(run.name, run.seed, *(f"{score:.4f}" for score in run.scores.values()), run.gmacs) for run in runs]
    place = given.out / f"cpu-torch{'.'.join(torch.__version__.split('+')[0].split('.')[:2])}-float32"
    write_text(place.with_suffix(".csv"), csv_text([("name", "seed", *runs[0].scores, "gmacs"), *lines]))
    told = f"65 test pictures; {given.epochs} epochs on 36. `python benchmarks/mosd.py ../shared/data/dense/mosd`"
    write_text(place.with_suffix(".md"), f"# mosd\n\n{table(runs)}\n\n{told}\n")
    print(table(runs))


def prepare(source: Path, out: Path) -> tuple[Path, Path]:
    """Writes labels, depth without its left half, and two manifests: of all pictures, and of those to test so."""
    rows, halved = [], []
    learnt = 0
    for row in read_table(source / "manifest.csv").rows:
        label, cut = out / "label" / f"{row['id']}.png", out / "halved" / f"{row['id']}.png"
        instance = _gray(source / row["instance"])
        write_png(label, np.select([instance == 0, instance == 1], [VOID, 0], 1).astype(np.uint8))
        depth = _gray(source / row["depth"])
        depth[:, : depth.shape[1] // 2] = 0
        write_png(cut, depth)
        split = "test"
        if row["split"] == "learn":
            split, learnt = "train" if learnt % 5 else "valid", learnt + 1
        whole = {name: str((source / row[name]).resolve()) for name in ("rgb", "depth")}
        line = {"id": row["id"], "split": split, **whole, "label": str(label.resolve())}
        rows.append(line)
        if split == "test":
            halved.append({**line, "depth": str(cut.resolve())})
    return write_table(out / "manifest.csv", rows), write_table(out / "halved.csv", halved)


def scored(runs: Path, halved: Path) -> Iterator[Scored]:
    """Every finished run."""
    for folder in sorted(path.parent for path in runs.glob("*/result.json")):
        result = RunFolder(folder).read(Result)
        test = result.test
        cut = evaluate_pixels(folder, manifest=halved)["miou"]
        scores = {"miou": test["miou"], "table": test["iou_table"], "object": test["iou_object"], "halved": cut}
        yield Scored(result.name, result.seed, {**scores, "lost": test["miou"] - cut}, result.cost.gmacs)


def table(runs: Sequence[Scored]) -> str:
    """Mean and standard deviation over seeds, a line per method."""
    lines = []
    for name in {run.name for run in runs}:
        own = [run for run in runs if run.name == name]
        values = {key: [100 * run.scores[key] for run in own] for key in own[0].scores}
        lines.append((statistics.fmean(values["miou"]), (name, len(own), *map(_spread, values.values()), own[0].gmacs)))
    title = ("Method", "n", "mIoU %", "Table %", "Object %", "Half of the depth: mIoU %", "Lost by it", "GMACs")
    told = [(*line[:-1], f"{line[-1]:.4f}") for _, line in sorted(lines, reverse=True)]
    return markdown_table([title, *told], (":--", *["--:"] * 7))


def _spread(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _gray(path: Path) -> np.ndarray:
    """(H, W) as stored."""
    return read_still(path).values[..., 0].copy()


if __name__ == "__main__":
    main()
