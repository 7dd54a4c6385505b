"""Runs an exported file: arguments in, logits out, on one thread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparsefuse.cost import latency as timing
from sparsefuse.export.program import Input, pad
from sparsefuse.extras import need

Runner = Callable[[Sequence[Tensor]], Tensor]
"""Arguments as the program's `forward` takes them -> its first output: logits (B, C)"""
RUNS = 50


@dataclass(frozen=True)
class Latency:
    """The time of one clip."""

    median_ms: float | None
    """None if it cannot be trusted"""
    spread_ms: float | None
    """half the distance between the 10th and the 90th percentile"""
    runs: int
    clip: Mapping[str, int]
    """modality -> its length"""
    threads: int = 1
    batch: int = 1
    fastest_ms: float | None = None
    load: float | None = None
    """cores that other programs kept busy meanwhile"""
    doubt: str = ""
    """why the median cannot be trusted"""


def open_file(path: Path) -> Runner:
    """A .onnx file in onnxruntime, a .pt2 file in PyTorch."""
    return _onnx(path) if path.suffix == ".onnx" else _pt2(path)


def latency(runner: Runner, clip: dict[str, Tensor], inputs: Sequence[Input], runs: int = RUNS) -> Latency:
    """The time of a clip, after a warm-up."""
    arguments = pad([clip], inputs)
    found = timing.latency(lambda: runner(arguments), runs=runs)
    return Latency(
        median_ms=found.trusted_ms,
        spread_ms=None if found.doubt else found.spread_ms,
        runs=found.runs,
        clip={name: len(x) for name, x in clip.items()},
        fastest_ms=found.fastest_ms,
        load=found.load,
        doubt=found.doubt,
    )


def _onnx(path: Path) -> Runner:
    onnxruntime = need("onnxruntime", "export", f"running {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names, first = [node.name for node in session.get_inputs()], session.get_outputs()[0].name

    def run(arguments: Sequence[Tensor]) -> Tensor:
        feed = dict(zip(names, (x.numpy() for x in arguments), strict=True))
        return torch.from_numpy(session.run([first], feed)[0])

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
