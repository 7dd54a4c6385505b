"""Whether data are the limit: how soon training begins, and how fast batches come beside how fast steps go.

    python benchmarks/loading.py                        20,000 clips of VGGS shape: 9.3 GB of disk, removed at the end
    python benchmarks/loading.py --clips 1000 --shape small   a quick look

Generates clips (the same ones for the same arguments) as `extract` writes them, float16 in shards of 64, and trains
`sft` on them. Times: from `train` to its first step, when all files are read and when they are known from a run before;
and, per second, batches that are only loaded, steps on batches that lie on the device already, and steps as training
takes them. Memory: the process's peak above what it had before the data were read, with `--cache-mb` for samples.
"""

import argparse
import itertools
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gpu import name_of, wait
from sparsefuse.config import Config, Data, Train
from sparsefuse.cost.count import count
from sparsefuse.cost.table import PUBLISHED
from sparsefuse.data.clips import load_clips
from sparsefuse.files.rows import csv_text
from sparsefuse.files.shard import save
from sparsefuse.files.whole import write_text
from sparsefuse.parallel.devices import device_of
from sparsefuse.parallel.memory import keep_memory
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training.distributed import Rank
from sparsefuse.training.on_device import Drawn, on_device
from sparsefuse.training.train import Position, _Run, new_model

SHAPES = {
    "vggs": {name: (n, PUBLISHED["vggs"].features[name]) for name, n in PUBLISHED["vggs"].lengths.items()},
    "small": {"rgb": (8, 32), "sound": (24, 16)},
}
OPTIONS = {"vggs": PUBLISHED["vggs"].options["sft"], "small": {"keep": 4}}
SHARD = 64  # clips
CLASSES = 100
NOISE = 2**22  # values that clips are cut out of


class Figures(NamedTuple):
    """What one call measured."""

    clips: int
    megabytes: float
    """of disk"""
    first_s: float
    """to the first step, when every file is read"""
    first_ms: float
    """of it, reading the data, per clip"""
    again_s: float
    """to the first step, when files are known"""
    again_ms: float
    memory_mb: float
    """peak while the data were read"""
    batches: float
    """a second, only loaded"""
    steps: float
    """a second, on batches that lie on the device"""
    trained: float
    """steps a second as training takes them"""
    train_memory_mb: float
    """peak after that"""

    @property
    def share(self) -> float:
        """Of the steps that a loader without cost would allow."""
        return self.trained / self.steps


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--shape", choices=SHAPES, default="vggs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--cache", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--cache-mb", type=int, default=Data.cache_mb)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of a rate")
    parser.add_argument("--folder", type=Path, help="where to keep the clips, for another call; else they are removed")
    parser.add_argument("--out", type=Path, help="folder for <device>-loading.csv, such as results/benchmark")
    options = parser.parse_args()
    logging.disable()
    keep_memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        manifest = folder / "manifest.csv"
        if not manifest.is_file():
            generate(folder, options.clips, SHAPES[options.shape])
            time.sleep(2.5)  # files that have just changed are not remembered
        for memory in folder.glob(".*.checked.json"):
            memory.unlink()
        train = Train(
            epochs=1, batch_size=options.batch, device=options.device, precision=options.precision,
            workers=options.workers, cache=options.cache,
        )  # fmt: skip
        data = Data(str(manifest), cache_mb=options.cache_mb)
        config = Config(data, options={"sft": OPTIONS[options.shape]}, train=train)
        figures = measured(config, folder, Path(temporary), options.seconds)
    print(table(figures))
    if options.out:
        device = torch.device(device_of(options.device))
        write_text(options.out / f"{name_of(device)}-loading.csv", csv_text([figures._fields, figures]))


def generate(folder: Path, count: int, shape: dict[str, tuple[int, int]]) -> None:
    """Clips of noise, no two the same, and a manifest."""
    noise = np.random.default_rng(0).standard_normal(NOISE + max(n * width for n, width in shape.values()))
    noise, rows = noise.astype(np.float16), [f"id,{','.join(shape)},label,split"]
    for name in shape:
        (folder / name).mkdir(parents=True)
    for begin in range(0, count, SHARD):
        ids = range(begin, min(begin + SHARD, count))
        for stream, (name, (n, width)) in enumerate(shape.items()):
            starts = {i: (i * 104_729 + stream) % NOISE for i in ids}
            arrays = {f"c{i}": noise[start : start + n * width].reshape(n, width) for i, start in starts.items()}
            save(folder / name / f"{begin // SHARD:05}.safetensors", arrays)
        for i in ids:
            cells = [f"{name}/{begin // SHARD:05}.safetensors#c{i}" for name in shape]
            split = ("train", "train", "train", "train", "train", "train", "train", "train", "valid", "test")[i % 10]
            rows.append(f"c{i},{','.join(cells)},{i // 10 % CLASSES},{split}")
    write_text(folder / "manifest.csv", "\n".join(rows) + "\n")


def measured(config: Config, folder: Path, out: Path, seconds: float) -> Figures:
    """All figures of one set."""
    device = torch.device(device_of(config.train.device))
    before = peak_mb()
    first, run = begun(config, out / "first", device)
    memory = peak_mb() - before
    again, run = begun(config, out / "again", device)
    loaded = rate(on_device(endless(run), device, run.kept), device, seconds)
    (some,) = itertools.islice(on_device(endless(run), device, run.kept), 1)
    steps = rate((step(run, each) for each in itertools.repeat(some)), device, seconds)
    trained = rate((step(run, each) for each in on_device(endless(run), device, run.kept)), device, seconds)
    clips = sum(len(split) for split in run.clips.splits.values())
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6
    return Figures(
        clips, size, first[0], 1e3 * first[1] / clips, again[0], 1e3 * again[1] / clips, memory, loaded, steps, trained,
        peak_mb() - before,
    )  # fmt: skip


def begun(config: Config, out: Path, device: torch.device) -> tuple[tuple[float, float], _Run]:
    """Seconds until the first step is done, and of them those of reading the data; and the training."""
    start = time.perf_counter()
    clips = load_clips(config.data, Path())
    read = time.perf_counter() - start
    model = new_model(config, clips).to(device)
    run = _Run(config, clips, model, Rank(0, 1, device), RunFolder(out), macs=count(model, clips.typical).total)
    step(run, next(on_device(endless(run), device, run.kept)))
    wait(device)
    return (time.perf_counter() - start, read), run


def endless(run: _Run) -> Iterator[Drawn]:
    """Epoch after epoch, as training draws them."""
    for epoch in itertools.count():
        yield from run._draw(Position(epoch=epoch), run.buckets.epoch(epoch))


def step(run: _Run, drawn: Drawn) -> None:
    """One step of training."""
    size = len(drawn.batch.ids)
    run._step(Position(), drawn, total=size, count=len(run.buckets))


def rate(steps: Iterator[object], device: torch.device, seconds: float) -> float:
    """Steps a second, after three that do not count."""
    for _ in itertools.islice(steps, 3):
        pass
    wait(device)
    count, start = 0, time.perf_counter()
    for _ in steps:
        count += 1
        if time.perf_counter() - start > seconds:
            break
    wait(device)
    return count / (time.perf_counter() - start)


def peak_mb() -> float:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def table(figures: Figures) -> str:
    """A line each."""
    f = figures
    return "\n".join([
        f"{f.clips:,} clips, {f.megabytes:,.0f} MB of files",
        f"first step after {f.first_s:.1f} s, {f.first_ms:.3f} ms a clip of reading; peak memory {f.memory_mb:,.0f} MB",
        f"first step of the next run after {f.again_s:.1f} s, {f.again_ms:.3f} ms a clip",
        f"batches loaded {f.batches:.1f}/s; steps {f.steps:.1f}/s without it, {f.trained:.1f}/s with it: {f.share:.2f}",
        f"peak memory after training {f.train_memory_mb:,.0f} MB",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
