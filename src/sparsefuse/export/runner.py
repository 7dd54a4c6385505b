"""Runs an exported file: arguments in, logits out, on one thread."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparsefuse.export.program import Input, pad
from sparsefuse.extras import need

Runner = Callable[[Sequence[Tensor]], Tensor]
"""Arguments as `Program.forward` takes them -> logits (B, C)"""
RUNS = 50


@dataclass(frozen=True)
class Latency:
    """The time of one clip."""

    median_ms: float
    spread_ms: float
    """half the distance between the 10th and the 90th percentile"""
    runs: int
    clip: Mapping[str, int]
    """modality -> its length"""
    threads: int = 1
    batch: int = 1


def open_file(path: Path) -> Runner:
    """A .onnx file in onnxruntime, a .pt2 file in PyTorch."""
    return _onnx(path) if path.suffix == ".onnx" else _pt2(path)


def latency(runner: Runner, clip: dict[str, Tensor], inputs: Sequence[Input], runs: int = RUNS) -> Latency:
    """The time of a clip, after a warm-up."""
    arguments, times = pad([clip], inputs), []
    for i in range(runs + 5):
        start = time.perf_counter()
        runner(arguments)
        if i >= 5:
            times.append(1e3 * (time.perf_counter() - start))
    deciles = statistics.quantiles(times, n=10)
    lengths = {name: len(x) for name, x in clip.items()}
    return Latency(statistics.median(times), (deciles[-1] - deciles[0]) / 2, runs, lengths)


def _onnx(path: Path) -> Runner:
    onnxruntime = need("onnxruntime", "export", f"running {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(arguments: Sequence[Tensor]) -> Tensor:
        feed = dict(zip(names, (x.numpy() for x in arguments), strict=True))
        return torch.from_numpy(session.run(["logits"], feed)[0])

    return run


def _pt2(path: Path) -> Runner:
    program = torch.export.load(path).module()

    @torch.inference_mode()
    def run(arguments: Sequence[Tensor]) -> Tensor:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return program(*arguments)[0]
        finally:
            torch.set_num_threads(threads)

    return run
