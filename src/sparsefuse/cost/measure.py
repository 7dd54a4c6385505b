"""Measures the cost of a model: a model and clip lengths in; latency, training time and memory on this machine out."""

import copy
import os
import statistics
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from sparsefuse.cost.count import random_clips, total
from sparsefuse.cost.roofline import machine, seconds
from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens

MIN_RUNS = 30  # latency is a median; fewer runs are too noisy on a busy machine
BATCH = 8


class Measured(NamedTuple):
    """Measured costs on this machine."""

    memory_mb: float
    """peak activation memory of a training step per clip, in MB (1e6 bytes)"""
    latency_ms: float
    """median time of a forward pass at batch 1"""
    latency_spread_ms: float
    """half the distance between its 10th and 90th percentile"""
    batch_ms: float
    """median time of a forward pass per clip, at `batch`"""
    train_ms: float
    """median time of a training step (forward and backward) per clip, at `batch`"""
    floor_ms: float
    """the roofline bound of this machine for the model at batch 1, for any implementation (see `machine`)"""
    batch_floor_ms: float
    """the same per clip, at `batch`"""
    batch: int
    """clips per batch in batch_ms, train_ms and memory_mb"""


def measure(model: FusionModel, lengths: Mapping[str, int], *, batch: int = BATCH, runs: int = MIN_RUNS) -> Measured:
    """Times forward passes and training steps on the model's device, after a warm-up; `runs` of each."""
    device = next(model.parameters()).device
    model = copy.deepcopy(model)
    one, many = random_clips(model, lengths, 1, device), random_clips(model, lengths, batch, device)
    latency = latencies_ms(model, lengths, runs)
    batch_times = _times(lambda: forward(model, many), device, max(runs // 3, 5))
    train_times = _times(lambda: train_step(model, many), device, max(runs // 3, 5))
    deciles = statistics.quantiles(latency, n=10)
    macs, limits = total(model, lengths), machine(device, torch.get_num_threads())
    weights = sum(p.nbytes for p in model.parameters())
    inputs = sum(tokens.x.nbytes for tokens in one.values())
    return Measured(
        memory_mb=memory_mb(model, lengths, batch=batch),
        latency_ms=statistics.median(latency),
        latency_spread_ms=(deciles[-1] - deciles[0]) / 2,
        batch_ms=statistics.median(batch_times) / batch,
        train_ms=statistics.median(train_times) / batch,
        floor_ms=limits.floor_ms(macs, weights + inputs),
        batch_floor_ms=limits.floor_ms(batch * macs, weights + batch * inputs) / batch,
        batch=batch,
    )


def latencies_ms(model: FusionModel, lengths: Mapping[str, int], runs: int = MIN_RUNS) -> list[float]:
    """The times of forward passes at batch 1, after a warm-up."""
    device = next(model.parameters()).device
    clip = random_clips(model, lengths, 1, device)
    return _times(lambda: forward(model, clip), device, runs)


def memory_mb(model: FusionModel, lengths: Mapping[str, int], *, batch: int = BATCH) -> float:
    """Peak activation memory of a training step per clip, in MB (1e6 bytes)."""
    device = next(model.parameters()).device
    return peak_bytes(model, random_clips(model, lengths, batch, device), device) / batch / 1e6


def forward(model: FusionModel, clips: dict[str, Tokens]) -> None:
    """One forward pass, as in prediction."""
    if model.training:
        model.eval()
    with torch.inference_mode():
        model(clips)


def train_step(model: FusionModel, clips: dict[str, Tokens]) -> None:
    """One pass forward and backward; the weights stay as they are."""
    if not model.training:
        model.train()
    model.zero_grad(set_to_none=True)
    logits, penalty = model(clips)
    (logits.square().mean() + penalty).backward()


def _times(run: Callable[[], object], device: torch.device, runs: int) -> list[float]:
    """Milliseconds of each run."""
    return [1e3 * elapsed for elapsed in seconds(run, device, runs, warmup=3)]


def peak_bytes(model: FusionModel, clips: dict[str, Tokens], device: torch.device) -> int:
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
