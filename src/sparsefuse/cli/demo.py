"""`sparsefuse demo`: renders clips, then runs the usual steps: extract, compare, report, predict."""

import logging
import time
from pathlib import Path

from sparsefuse.config import Config, Data, Train
from sparsefuse.data.demo import CLASSES, fresh_clip, render
from sparsefuse.experiments.grid import grid
from sparsefuse.experiments.grid import run as run_cells
from sparsefuse.experiments.variants import methods_of
from sparsefuse.features.extract import extract
from sparsefuse.files.whole import read_json, write_json
from sparsefuse.inference.predictor import load
from sparsefuse.report.page import write_tables
from sparsefuse.screen import table_console

FEATURES = {
    "picture": {"extractor": "frames", "source": "video", "size": [16, 16], "difference": True},
    "sound": {"extractor": "spectrogram", "source": "video"},
}
OPTIONS = {"sft": {"keep": 12}}
SECONDS = 3.0
METHODS = ("concat", "late", "unimodal", "sft")  # the long runs first, so that no core waits for them


def run(out: Path, *, clips: int, epochs: int, seed: int) -> None:
    """All stages below the folder `out`; a rerun skips what exists. Raises ValueError if that is of another demo."""
    console, start = table_console(), time.monotonic()
    logging.getLogger().setLevel(logging.WARNING)
    console.print(f"[bold]1. Clips[/bold]  {clips} short films with sound -> {out / 'clips'}")
    manifest = _clips(out, clips=clips, seed=seed)
    console.print(f"[bold]2. Features[/bold]  {', '.join(FEATURES)} -> {out / 'features'}")
    summary = extract(manifest, out / "features", features=FEATURES)
    console.print(f"   {summary.done} made, {summary.reused} reused, {len(summary.skipped)} skipped")
    console.print(f"[bold]3. Compare[/bold]  {', '.join(METHODS)} -> {out / 'runs'}")
    config = Config(
        data=Data(manifest=str(summary.manifest)), options=OPTIONS, train=Train(epochs=epochs), features=FEATURES
    )
    cells = grid(config, methods_of(config, METHODS, Path()), [seed], out / "runs", root=Path())
    table = write_tables(out / "runs", out / "compare", run_cells(cells))
    if table.failed:
        raise RuntimeError("\n".join(["these runs failed:", *table.failed]))
    console.print(table)
    console.print(f"[bold]4. Report[/bold]  {out / 'report.html'}")
    label = CLASSES[seed % len(CLASSES)]
    clip = fresh_clip(out / "fresh.mp4", label=label, seed=seed, seconds=SECONDS)
    prediction = load(out / "runs" / f"sft-seed{seed}").predict_one(clip)
    share = prediction.probabilities[prediction.label]
    console.print(f"[bold]5. Predict[/bold]  {clip} shows {label}; sft predicts {prediction.label} ({share:.2f})")
    console.print(f"Done in {time.monotonic() - start:.0f} s.")


def _clips(out: Path, *, clips: int, seed: int) -> Path:
    """The manifest of the clips, rendered unless they exist; demo.json records their settings."""
    manifest, record = out / "manifest.csv", out / "demo.json"
    settings = {"clips": clips, "seed": seed, "seconds": SECONDS}
    if not manifest.exists() or not record.exists():
        render(out, clips=clips, seconds=SECONDS, seed=seed)
        write_json(record, settings)
    elif read_json(record) != settings:
        before, now = (", ".join(f"{k} {v}" for k, v in values.items()) for values in (read_json(record), settings))
        raise ValueError(f"{out} holds a demo with {before}, not {now}; give another --out, or remove the folder")
    return manifest
