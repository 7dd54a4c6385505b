"""Measures the cost of a model: a model and clip lengths in; latency, training time and memory on this machine out."""

import copy
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from sparsefuse.cost.count import count_pixels, random_clips, random_pictures, total
from sparsefuse.cost.latency import RUNS, Latency, latency
from sparsefuse.cost.points import SceneSize, count_points, random_rooms
from sparsefuse.cost.roofline import machine
from sparsefuse.model import FusionModel
from sparsefuse.model.pixels import PixelModel
from sparsefuse.model.points import DetectionModel
from sparsefuse.parallel.cores import cores
from sparsefuse.shown import counted

Model = FusionModel | PixelModel | DetectionModel
SampleSize = Mapping[str, int] | tuple[int, int]
"""tokens per modality of a clip; rows and columns of pictures"""
BATCH = 8
PIXELS = 128 * 128
"""of a picture; of larger ones fewer are in a batch"""


class Measured(NamedTuple):
    """Measured costs on this machine. A time that cannot be trusted is None, and `doubt` says why."""

    memory_mb: float
    """peak activation memory of a training step per clip, in MB (1e6 bytes)"""
    latency_ms: float | None
    """median time of a forward pass at batch 1"""
    latency_spread_ms: float | None
    """half the distance between its 10th and 90th percentile"""
    batch_ms: float | None
    """median time of a forward pass per clip, at `batch`"""
    train_ms: float | None
    """median time of a training step (forward and backward) per clip, at `batch`"""
    floor_ms: float
    """the roofline bound of this machine for the model at batch 1, for any implementation (see `machine`)"""
    batch_floor_ms: float
    """the same per clip, at `batch`"""
    batch: int
    """clips per batch in batch_ms, train_ms and memory_mb"""
    fastest_ms: float | None = None
    """fastest of the forward passes at batch 1"""
    load: float | None = None
    """cores that other programs kept busy meanwhile; None where the system does not say"""
    doubt: str = ""
    """why a time cannot be trusted; empty if all can"""
    where: str = ""
    """what all this was measured on: `2 CPU cores, 2 threads, torch 2.9.0`"""


def measure_as(model: FusionModel | PixelModel, size: SampleSize) -> Measured:
    """`measure` or `measure_pixels`, whichever the model is of."""
    if isinstance(model, PixelModel):
        assert isinstance(size, tuple), size
        return measure_pixels(model, *size)
    assert not isinstance(size, tuple), size
    return measure(model, size)


def measure(model: FusionModel, lengths: Mapping[str, int], *, batch: int = BATCH, runs: int = RUNS) -> Measured:
    """Times forward passes and training steps on the model's device, after a warm-up; `runs` of each or more."""
    device = next(model.parameters()).device
    model = copy.deepcopy(model)
    one, many = random_clips(model, lengths, 1, device), random_clips(model, lengths, batch, device)
    size = sum(tokens.x.nbytes for tokens in one.values())
    return _measured(model, (one, many), size, total(model, lengths), batch, runs)


def measure_pixels(model: PixelModel, rows: int, columns: int, *, runs: int = RUNS) -> Measured:
    """The same with pictures of that size, fewer in a batch where they are large."""
    device = next(model.parameters()).device
    model, batch = copy.deepcopy(model), max(1, min(BATCH, BATCH * PIXELS // (rows * columns)))
    one, many = (random_pictures(model, rows, columns, count, device) for count in (1, batch))
    size = 4 * rows * columns * sum(model.streams[name] for name in model.reads)
    return _measured(model, (one, many), size, count_pixels(model, rows, columns), batch, runs)


def measure_points(model: DetectionModel, scene: SceneSize, *, runs: int = RUNS) -> Measured:
    """The same with rooms of that size. A forward pass goes on to boxes, of which those that overlap are taken out."""
    device = next(model.parameters()).device
    macs, model = count_points(model, scene).total, copy.deepcopy(model)
    pixels = scene.frames * scene.rows * scene.columns
    batch = max(1, min(BATCH, BATCH * PIXELS // max(pixels, 1)))
    one, many = (random_rooms(model, scene, count, device) for count in (1, batch))
    size = 4 * ((3 + model.num_channels) * scene.points + 3 * pixels)
    return _measured(model, (one, many), size, macs, batch, runs)


def _measured(model: Model, inputs: tuple[Any, Any], size: int, macs: int, batch: int, runs: int) -> Measured:
    """Of one sample, which is `size` bytes large and costs `macs`, and of a batch."""
    one, many = inputs
    device = next(model.parameters()).device
    alone = _latency(lambda: forward(model, one), device, runs)
    batched = _latency(lambda: forward(model, many), device, max(runs // 3, 5))
    training = _latency(lambda: train_step(model, many), device, max(runs // 3, 5))
    limits = machine(device, torch.get_num_threads())
    weights = sum(p.nbytes for p in model.parameters())
    return Measured(
        memory_mb=peak_bytes(model, many, device) / batch / 1e6,
        latency_ms=alone.trusted_ms,
        latency_spread_ms=None if alone.doubt else alone.spread_ms,
        batch_ms=None if batched.doubt else batched.median_ms / batch,
        train_ms=None if training.doubt else training.median_ms / batch,
        floor_ms=limits.floor_ms(macs, weights + size),
        batch_floor_ms=limits.floor_ms(batch * macs, weights + batch * size) / batch,
        batch=batch,
        fastest_ms=alone.fastest_ms,
        load=alone.load,
        doubt=alone.doubt or batched.doubt or training.doubt,
        where=_where(device),
    )


def _where(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{cores()} CPU cores"
    return f"{name}, {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}"


def forward_latency(model: FusionModel | PixelModel, size: SampleSize, runs: int = RUNS) -> Latency:
    """The time of a forward pass at batch 1."""
    sample, device = _random(model, size, 1), next(model.parameters()).device
    return _latency(lambda: forward(model, sample), device, runs)


def memory_mb(model: FusionModel | PixelModel, size: SampleSize, *, batch: int = BATCH) -> float:
    """Peak activation memory of a training step per sample, in MB (1e6 bytes)."""
    return peak_bytes(model, _random(model, size, batch), next(model.parameters()).device) / batch / 1e6


def _random(model: FusionModel | PixelModel, size: SampleSize, batch: int) -> Any:
    device = next(model.parameters()).device
    if isinstance(model, PixelModel):
        assert isinstance(size, tuple), size
        return random_pictures(model, *size, batch, device)
    assert not isinstance(size, tuple), size
    return random_clips(model, size, batch, device)


def forward(model: Model, clips: Any) -> None:
    """One forward pass, as in prediction."""
    if model.training:
        model.eval()
    with torch.inference_mode():
        if isinstance(model, DetectionModel):
            model.boxes(model(*clips[:3]))
        else:
            model(clips)


def train_step(model: Model, clips: Any) -> None:
    """One pass forward and backward; the weights stay as they are."""
    if not model.training:
        model.train()
    model.zero_grad(set_to_none=True)
    if isinstance(model, DetectionModel):
        model.losses(model(*clips[:3]), clips.boxes)["loss"].backward()
        return
    logits, penalty, *_ = model(clips)
    (logits.square().mean() + penalty).backward()


def _latency(run: Callable[[], object], device: torch.device, runs: int) -> Latency:
    if device.type != "cuda":
        return latency(run, threads=torch.get_num_threads(), runs=runs)

    def waited() -> None:
        run()
        torch.cuda.synchronize(device)

    return latency(waited, runs=runs)


def peak_bytes(model: Model, clips: Any, device: torch.device) -> int:
    """Peak memory of a training step above that of the model and clips; see `peak_of`."""
    model.zero_grad(set_to_none=True)
    return peak_of(lambda: train_step(model, clips), device)


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """Peak memory of `run` above the memory in use before: the allocator's figure on CUDA, the running sum of the
    profiler's memory events on the CPU (resident memory of the process is noise)."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # otherwise the profiler prints messages
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
            peak = max(peak, held)
    return peak
