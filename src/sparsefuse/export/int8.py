"""An ONNX file with its weights as 8-bit integers; what comes in stays float32, activations are quantised as they pass.

Dynamic quantisation of onnxruntime: products with a constant matrix, a scale for each of its columns.
"""

from pathlib import Path

from sparsefuse.export.onnx import EXACT, quiet, save, slim


def quantise(source: Path, target: Path) -> None:
    """Writes the int8 twin of the file `source`. Raises ImportError without the extra."""
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ImportError(f"int8 needs more packages: pip install 'sparsefuse[export]' ({error})") from error
    model = onnx.load(str(source))
    with quiet():
        quantize_dynamic(
            str(source),
            str(target),
            weight_type=QuantType.QInt8,
            per_channel=True,
            # The spectrum of a sound spans more powers of two than eight bits can tell apart.
            nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith(EXACT)],
        )
    save(slim(onnx.load(str(target))), target)
