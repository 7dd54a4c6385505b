"""`sparsefuse demo --task segment`: generates rooms, then runs the usual steps: compare, report, predict."""

import logging
import time
from pathlib import Path

import numpy as np

from sparsefuse.config import Config
from sparsefuse.experiments.grid import grid
from sparsefuse.experiments.grid import run as run_cells
from sparsefuse.experiments.variants import methods_of
from sparsefuse.files.whole import replacing
from sparsefuse.inference.pixels.prediction import PixelPrediction
from sparsefuse.inference.pixels.predictor import load_pixels
from sparsefuse.media.png import write_png
from sparsefuse.report.page import write_tables
from sparsefuse.rooms import Room, generate, room
from sparsefuse.screen import table_console

METHODS = ("sft", "early", "unimodal")  # the longest first, so that no core waits for it
SIZE = 64


def run(out: Path, *, scenes: int, epochs: int, seed: int) -> None:
    """All stages below the folder `out`; a rerun skips what exists. Raises ValueError if that is of another demo."""
    console, start = table_console(), time.monotonic()
    logging.getLogger().setLevel(logging.WARNING)
    console.print(f"[bold]1. Rooms[/bold]  {scenes} pictures with depth and labels -> {out / 'rooms'}")
    generate(out / "rooms", scenes, SIZE, seed)
    console.print(f"[bold]2. Compare[/bold]  {', '.join(METHODS)} -> {out / 'runs'}")
    config = Config.load(out / "rooms" / "segment.yaml", train={"epochs": epochs})
    cells = grid(config, methods_of(config, METHODS, Path()), [seed], out / "runs", root=Path())
    table = write_tables(out / "runs", out / "compare", run_cells(cells))
    if table.failed:
        raise RuntimeError("\n".join(["these runs failed:", *table.failed]))
    console.print(table)
    console.print(f"[bold]3. Report[/bold]  {out / 'report.html'}")
    fresh = room(2**32 + seed, SIZE, SIZE)  # a seed that no set reaches
    pictures = _write(out / "fresh", fresh)
    prediction = load_pixels(out / "runs" / f"sft-seed{seed}").predict(pictures)
    assert isinstance(prediction, PixelPrediction)
    assert prediction.labels is not None
    with replacing(out / "fresh" / "predicted.png") as temporary:
        temporary.write_bytes(prediction.png())
    right = float(np.mean(prediction.labels == fresh.label))
    console.print(
        f"[bold]4. Predict[/bold]  {out / 'fresh'}: sft names {100 * right:.0f} % of a new room's pixels right"
    )
    console.print(f"Done in {time.monotonic() - start:.0f} s.")


def _write(folder: Path, scene: Room) -> dict[str, Path]:
    """The pictures of a new scene, by stream, and its labels beside them."""
    pictures = {"rgb": folder / "rgb.png", "depth": folder / "depth.png"}
    write_png(pictures["rgb"], scene.rgb)
    write_png(pictures["depth"], scene.sensor)
    write_png(folder / "label.png", scene.label)
    return pictures
