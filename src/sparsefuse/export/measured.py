"""Time and memory of one model in this process: a task as JSON on standard input, figures as JSON on standard output.

Started by `device`. For ONNX nothing is imported but numpy and onnxruntime, so that the memory is the model's.
"""

import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from sparsefuse.cost.latency import latency

_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


@dataclass(frozen=True)
class InputShape:
    """An input of the exported model; see `program.Input`."""

    name: str
    length: str
    kind: str
    width: int


@dataclass(frozen=True)
class Measurement:
    """The model to measure, and how."""

    runtime: Literal["onnxruntime", "torch"]
    path: str
    clip: dict[str, int]
    """modality -> its length"""
    runs: int
    memory_mb: int
    """the cap; 0 = none"""
    inputs: list[InputShape] = field(default_factory=list)
    """for onnxruntime"""
    precision: str = ""
    """for torch"""
    trust_code: bool = False


@dataclass(frozen=True)
class Figures:
    """The measurements; None if there was an error, and times that cannot be trusted."""

    latency_ms: float | None = None
    spread_ms: float | None = None
    memory_mb: float | None = None
    process_mb: float | None = None
    error: str = ""
    doubt: str = ""
    """why the time cannot be trusted"""

    @property
    def figures(self) -> tuple[float | None, float | None, float | None, float | None]:
        """All but the error and the doubt."""
        return self.latency_ms, self.spread_ms, self.memory_mb, self.process_mb


def main() -> None:
    """Reads the task, prints the figures."""
    values = json.load(sys.stdin)
    task = Measurement(**{**values, "inputs": [InputShape(**entry) for entry in values["inputs"]]})
    start = (_onnx if task.runtime == "onnxruntime" else _torch)(task)
    if task.memory_mb:
        cap = task.memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
    before = _reset_peak()
    try:
        run = start()
        found = latency(run, runs=task.runs)
    except (MemoryError, RuntimeError) as error:
        print(json.dumps(asdict(Figures(error=f"{type(error).__name__}: {str(error)[:200]}"))))
        return
    spread, memory = None if found.doubt else found.spread_ms, (_peak() - before) / 1e6
    figures = Figures(found.trusted_ms, spread, memory, _peak() / 1e6, doubt=found.doubt)
    print(json.dumps(asdict(figures)))


def _onnx(task: Measurement) -> Callable[[], Callable[[], object]]:
    """Imports the runtime; returns the function that opens the model."""
    import numpy as np
    import onnxruntime

    def start() -> Callable[[], object]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(task.path, options, providers=["CPUExecutionProvider"])
        rng, arguments = np.random.default_rng(0), {}
        for one in task.inputs:
            size = task.clip.get(one.name, 0)
            shape = (1, max(size, 1)) if one.kind == "sound" else (1, max(size, 1), one.width)
            arguments[one.name] = rng.normal(size=shape).astype(np.float32)
            arguments[one.length] = np.array([size])
        return lambda: session.run(None, arguments)

    return start


def _torch(task: Measurement) -> Callable[[], Callable[[], object]]:
    import torch

    from sparsefuse.cost.count import random_clips
    from sparsefuse.inference.predictor import load
    from sparsefuse.tokens import Tokens

    torch.set_num_threads(1)

    def start() -> Callable[[], object]:
        dtype = getattr(torch, task.precision)
        model = load(task.path, trust_code=task.trust_code).model.to(dtype)
        clips = random_clips(model, task.clip, 1, torch.device("cpu"))
        clips = {name: Tokens(t.x.to(dtype), t.mask) for name, t in clips.items()}

        @torch.inference_mode()
        def run() -> object:
            return model(clips)

        return run

    return start


def _reset_peak() -> float:
    """Resets the peak memory where the system allows it; returns the bytes in use."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return _peak()


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT)


if __name__ == "__main__":
    main()
