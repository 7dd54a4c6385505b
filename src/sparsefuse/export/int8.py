"""An ONNX file with its weights as 8-bit integers; inputs stay float32, activations are quantised at run time.

Dynamic quantisation of onnxruntime: matrix products with constant weights, one scale per column.
"""

from pathlib import Path

from sparsefuse.export.onnx import EXACT, quiet, save, slim


def quantise(source: Path, target: Path) -> None:
    """Writes the int8 version of the file `source`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    with quiet():
        quantize_dynamic(
            str(source),
            str(target),
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # eight bits overflow in the sums of CPUs without VNNI
            # The spectrum of a sound spans a larger dynamic range than eight bits have.
            nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(EXACT)],
        )
    save(slim(onnx.load(str(target))), target)
