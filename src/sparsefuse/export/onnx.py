"""The program as an ONNX file: a graph that needs no Python."""

import contextlib
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsefuse.export.traced import Traceable, traced
from sparsefuse.extras import need
from sparsefuse.files.whole import replacing

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.onnx import ONNXProgram

OPSET = 18
"""the lowest that PyTorch's exporter writes"""
IR = 8
"""of the file: the one of opset 18; PyTorch writes 10, which takes ONNX Runtime 1.18 and which no graph here needs"""
RUNTIME = "1.14"
"""the first ONNX Runtime with both, by onnxruntime.ai/docs/reference/compatibility"""
EXACT = "exact"
"""prefix of the names of nodes that must not be quantised"""


def need_onnx() -> None:
    """Raises ImportError without the extra `export`: the graph alone takes a minute."""
    need("onnx", "export", "export to ONNX")
    need("onnxscript", "export", "export to ONNX")
    need("onnxruntime", "export", "export to ONNX")


def write_onnx(program: Traceable, path: Path) -> None:
    """Writes the program as one file, weights inside. Raises ImportError without the extra, ValueError if the method
    cannot be traced."""
    import onnxscript.optimizer

    graph = traced(program)
    with quiet():
        exported = unoptimised(graph, program)
        # PyTorch's own call goes through it twice, for a graph that is no faster (benchmarks/onnx_steps.py)
        onnxscript.optimizer.optimize(exported.model, num_iterations=1)
    save(tidied(exported.model_proto, program), path)


def unoptimised(graph: "ExportedProgram", program: Traceable) -> "ONNXProgram":
    """The traced program as the exporter leaves it."""
    import torch.onnx

    exported = torch.onnx.export(
        graph,
        dynamo=True,
        input_names=program.input_names,
        output_names=program.output_names,
        opset_version=OPSET,
        verbose=False,
        optimize=False,
    )
    assert exported is not None
    return exported


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences exporter and quantiser, which warn of internals, and of torchvision, which no model here needs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # some warnings use the root logger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def save(model: Any, path: Path) -> None:
    """Writes an onnx.ModelProto atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def tidied(model: Any, program: Traceable) -> Any:
    """The same graph without debugging metadata, which is twice the size of a small model; axes get names."""
    for value in (*model.graph.input, *model.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, program.free_axes[value.name], strict=False):
            axis.dim_param = name
    return slim(model)


def slim(model: Any) -> Any:
    """Removes comments, inner shapes and long names, in place."""
    graph, model.ir_version = model.graph, IR
    model.doc_string = graph.doc_string = ""
    del model.metadata_props[:], graph.metadata_props[:]
    del graph.value_info[:]  # the quantiser also fails on them
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    short = _Names(value.name for value in (*graph.input, *graph.output))
    for tensor in graph.initializer:
        tensor.name = short[tensor.name]
    for i, node in enumerate(graph.node):
        exact = node.name.startswith(EXACT) or any(_FRONT in prop.value for prop in node.metadata_props)
        node.name = f"{EXACT}{i:x}" if exact else f"{i:x}"
        node.doc_string = ""
        del node.metadata_props[:]
        _rename(node, short)
    return model


def _rename(node: Any, short: "_Names") -> None:
    """Of what a node takes and gives, also inside loops, which read values from outside."""
    node.input[:] = [short[name] for name in node.input]
    node.output[:] = [short[name] for name in node.output]
    for graph in (part.g for part in node.attribute if part.HasField("g")):
        del graph.value_info[:]
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = short[value.name]
        for inner in graph.node:
            del inner.metadata_props[:]
            _rename(inner, short)


_FRONT = "sparsefuse.export.sound.Wave"
"""metadata of the nodes of the log-mel front end"""


class _Names(dict[str, str]):
    """Short names for values, since a name is stored at every use; those in `kept` stay."""

    def __init__(self, kept: Iterable[str]):
        super().__init__({name: name for name in ("", *kept)})

    def __missing__(self, name: str) -> str:
        self[name] = f"{len(self):x}"
        return self[name]
