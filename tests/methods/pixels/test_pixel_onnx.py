"""Every method on pixels as an ONNX graph says what it says in PyTorch, for other batches than its example."""

import numpy as np
import pytest
import torch
from pixel_cases import BASE, SIZES, case_id, logits_of, model_of, pictures, whole

from sparsefuse.export.onnx import quiet
from sparsefuse.tokens import Field

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Program(torch.nn.Module):
    """x and mask of every stream in turn -> logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *arguments):
        fields = zip(arguments[::2], arguments[1::2], strict=True)
        return self.model({name: Field(*parts) for name, parts in zip(self.model.reads, fields, strict=True)}).logits


STREAMS = {"rgb": 3, "depth": 2}
# An export takes ten seconds or more. Layers of the plain methods are the others', too; tests/export/pixels/
# test_pixel_program.py exports the rest for any size, with streams that are lacking and scenes that are padded.
PLAIN = ("early", "late", "unimodal")
PROGRAMS = ("sft", "tokenfusion")
CASES = [case for case in BASE if case[0] not in PLAIN + PROGRAMS and case[1]["task"] == "segment"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_an_onnx_graph_gives_the_same_logits(case, tmp_path):
    model = model_of(case, streams=STREAMS)

    def arguments(batch):
        return tuple(torch.nan_to_num(part) for name in model.reads for part in batch[name])

    free = {0: torch.export.Dim.DYNAMIC}  # rows and columns are the example's; smaller pictures are padded
    example = whole(size=SIZES[0], streams=STREAMS)
    with quiet(), torch.no_grad():
        torch.onnx.export(
            Program(model), arguments(example), tmp_path / "model.onnx", dynamo=True,
            dynamic_shapes=((free,) * 2 * len(model.reads),),
            opset_version=18, verbose=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for batch in (example, whole(1, size=SIZES[0], streams=STREAMS), pictures(streams=STREAMS)):
        feed = {node.name: x.numpy() for node, x in zip(session.get_inputs(), arguments(batch), strict=True)}
        (found,) = session.run(None, feed)
        np.testing.assert_allclose(found, logits_of(model, batch), rtol=0, atol=1e-4)
