"""Writes a run's model as an ExecuTorch program for XNNPACK, and compares the two on the run's validation clips.

    pip install executorch
    python to_executorch.py RUN model.pte

Unlike ONNX, the program has room for so many tokens a clip and no more; one clip goes in at a time. Inputs and outputs
are those of `sparsefuse export`, in the order of the card.
"""

import argparse
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch.export import Dim

from sparsefuse.export.clips import of_run
from sparsefuse.export.parity import trained_logits
from sparsefuse.export.program import Program, pad
from sparsefuse.inference.predictor import load

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", type=Path)
parser.add_argument("out", type=Path)
parser.add_argument("--longest", type=int, default=1024, help="tokens of a modality, at most")
given = parser.parse_args()

predictor = load(given.run)
program = Program(predictor).eval()
example = program.example(batch=1)
shapes = tuple({1: Dim(f"n{i}", min=2, max=given.longest)} if x.ndim > 1 else {} for i, x in enumerate(example))
with torch.no_grad():
    graph = torch.export.export(program, example, dynamic_shapes=(shapes,), strict=False)
settings = EdgeCompileConfig(_check_ir_validity=False)
lowered = to_edge_transform_and_lower(graph, partitioner=[XnnpackPartitioner()], compile_config=settings)
given.out.write_bytes(lowered.to_executorch().buffer)

method = Runtime.get().load_program(given.out).load_method("forward")
assert method is not None
clips = of_run(given.run, "valid", predictor, program.inputs).given
logits = torch.cat([method.execute(pad([clip.streams], program.inputs))[0].clone() for clip in clips])
trained = trained_logits(predictor, clips)
same = int((logits.argmax(1) == trained.argmax(1)).sum())
print(f"{given.out}: {given.out.stat().st_size / 1e3:.0f} kB; logits differ by at most "
      f"{(logits - trained).abs().max():.2g} from the run's; {same} of {len(clips)} labels are the same")  # fmt: skip
