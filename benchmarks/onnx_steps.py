"""Processor seconds of each step of an export to ONNX, by how often onnxscript optimises, and what the file then takes.

    python benchmarks/onnx_steps.py RUN

RUN is a run on clips. Each variant is exported anew from one traced graph, on one thread.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import onnxscript.optimizer
import torch

from sparsefuse.export.onnx import quiet, save, tidied, unoptimised
from sparsefuse.export.program import Program
from sparsefuse.export.traced import traced
from sparsefuse.inference.predictor import load


def main() -> None:
    """See the module's docstring."""
    torch.set_num_threads(1)
    program = Program(load(sys.argv[1]))
    start = time.process_time()
    graph = traced(program)
    print(f"trace {time.process_time() - start:.1f} s")
    feed = {name: x.numpy() for name, x in zip(program.input_names, program.example(), strict=True)}
    for times in (1, 2):
        with quiet(), tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            made = unoptimised(graph, program)
            exported = time.process_time() - start
            start = time.process_time()
            onnxscript.optimizer.optimize(made.model, num_iterations=times, stop_if_no_change=False)
            optimised = time.process_time() - start
            file = Path(folder, "model.onnx")
            save(tidied(made.model_proto, program), file)
            nodes = len(made.model_proto.graph.node)
            print(f"export {exported:.1f} s, optimise {times} x {optimised:.1f} s: {nodes} nodes, {timed(file, feed)}")


def timed(file: Path, feed: dict[str, np.ndarray]) -> str:
    """The fastest of 200 runs on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options)
    took = []
    for _ in range(200):
        start = time.process_time()
        session.run(None, feed)
        took.append(time.process_time() - start)
    return f"{1e3 * min(took):.2f} ms"


if __name__ == "__main__":
    main()
