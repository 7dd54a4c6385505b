"""Training at the shapes of UTD-MHAD, and use at batch 1: how much of an epoch a GPU is busy, how soon an answer comes.

    python benchmarks/gpu_training.py             prints a line each; --out writes <device>-training.csv

Clips are generated: noise, as many and as large as those of configs/utd-mhad.yaml, whose model is trained. An epoch is
timed from its first step to the next epoch's, with validation, its scores and the checkpoint; `steps` is the part of it
until the last step is done. Busy is the union of the times of kernels, by the profiler, in an epoch of its own.
"""

import argparse
import logging
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from gpu import name_of, wait
from loading import generate
from sparsefuse.config import Config
from sparsefuse.files.rows import csv_text
from sparsefuse.files.whole import write_text
from sparsefuse.inference.predictor import load
from sparsefuse.parallel.devices import device_of
from sparsefuse.training.train import _Run, train

SHAPE = {"depth": (48, 400), "inertial": (96, 6), "skeleton": (48, 60)}
CLIPS = 646
EPOCHS, PROFILED = 14, 9
"""epochs after PROFILED are timed: in the first ones kernels are compiled, and steps captured"""
OPTIONS = {"unimodal_depth": 3, "fusion_depth": 7, "keep": {"inertial": 14, "skeleton": 10, "depth": 8}}


class Figures(NamedTuple):
    """What one call measured."""

    graphs: str
    epoch_ms: float
    steps_ms: float
    """of it, the steps"""
    busy: float
    """share of an epoch's steps in which a kernel runs; nan on a processor"""
    label_ms: float
    """a clip's arrays to its label, median"""


class Watch:
    """Notes when each epoch's steps begin and end, and profiles one of them."""

    def __init__(self, device: torch.device):
        self.device, self.begun, self.ended = device, list[float](), list[float]()
        self.busy = math.nan

    def epoch(self, run: _Run, at: Any, progress: Any, own: Any = _Run._epoch) -> Any:
        """In place of a training's `_epoch`."""
        wait(self.device)
        self.begun.append(time.perf_counter())
        if at.epoch != PROFILED or self.device.type != "cuda":
            at = own(run, at, progress)
        else:
            with profile(activities=[ProfilerActivity.CUDA]) as profiler:
                at = own(run, at, progress)
                wait(self.device)
            self.busy = union_ms(profiler) / 1e3 / (time.perf_counter() - self.begun[-1])
        wait(self.device)
        self.ended.append(time.perf_counter())
        return at


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--clips", type=int, default=CLIPS)
    parser.add_argument("--out", type=Path, help="folder for <device>-training.csv, such as results/benchmark")
    options = parser.parse_args()
    logging.disable()
    device = torch.device(device_of(options.device))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generate(folder, options.clips, SHAPE)
        kinds = ["auto", "never"] if device.type == "cuda" else ["never"]
        rows = [measured(folder, folder / graphs, device, options.precision, graphs) for graphs in kinds]
    for row in rows:
        busy = "not measured" if math.isnan(row.busy) else f"{row.busy:.0%}"
        print(
            f"cuda_graphs {row.graphs}: epoch {row.epoch_ms:.0f} ms, its steps {row.steps_ms:.0f} ms, device busy in "
            f"them {busy}; a clip's arrays to its label {row.label_ms:.2f} ms"
        )
    if options.out:
        write_text(options.out / f"{name_of(device)}-training.csv", csv_text([Figures._fields, *rows]))


def measured(folder: Path, out: Path, device: torch.device, precision: str, graphs: str) -> Figures:
    """Trains, then predicts."""
    config = Config.load(
        data={"manifest": str(folder / "manifest.csv"), "modality_dropout": 0.3},
        options={"sft": OPTIONS},
        train={
            "epochs": EPOCHS,
            "lr": 2e-3,
            "weight_decay": 0.1,
            "ema": 0.98,
            "mixup_warmup": 0,
            "device": str(device),
            "precision": precision,
            "cuda_graphs": graphs,
        },
    )
    watch, own = Watch(device), _Run._epoch
    _Run._epoch = lambda run, at, progress: watch.epoch(run, at, progress, own)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        train(config, out, measured=False, shown=False)
    finally:
        _Run._epoch = own
    steps = [1e3 * (end - begin) for begin, end in zip(watch.begun, watch.ended, strict=True)][PROFILED + 1 :]
    epochs = [1e3 * (after - begin) for begin, after in zip(watch.begun, watch.begun[1:], strict=False)][PROFILED + 1 :]
    return Figures(
        graphs, statistics.median(epochs), statistics.median(steps), watch.busy, label_ms(out, device, graphs)
    )


def label_ms(run: Path, device: torch.device, graphs: str) -> float:
    """A clip's arrays to its label."""
    predictor, normal = load(run, device=str(device), cuda_graphs=graphs), np.random.default_rng(0).standard_normal
    clip = {name: normal(size).astype(np.float32) for name, size in SHAPE.items()}
    times = []
    for _ in range(60):
        start = time.perf_counter()
        predictor.predict(clip)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[10:])


def union_ms(profiler: profile) -> float:
    """Milliseconds in which some kernel ran."""
    events = [
        event
        for event in profiler.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA  # pyright: ignore[reportPrivateImportUsage]
    ]
    busy, until = 0.0, -math.inf
    for begin, end in sorted((event.time_range.start, event.time_range.end) for event in events):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
    return busy / 1e3


if __name__ == "__main__":
    main()
