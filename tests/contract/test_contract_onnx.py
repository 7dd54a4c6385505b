"""Every method as an ONNX file says what it says in PyTorch, for other batch sizes and lengths than the example's."""

import numpy as np
import pytest
import torch
from contract_cases import BASE, CLASSES, FEATURES, LONGEST, case_id, model_of, shallow

from sparsefuse.data.labels import Labels
from sparsefuse.data.lengths import WHOLE
from sparsefuse.export.onnx import write_onnx
from sparsefuse.export.program import Program, pad
from sparsefuse.export.runner import open_file
from sparsefuse.inference.predictor import Predictor
from sparsefuse.methods import find

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TOLERANCE = 1e-4
CAUSAL = ("mult", {**find("mult").TEST, "causal": True})
BATCHES = {
    "one short clip": [{"rgb": 2, "sound": 9}],
    "one token": [{"rgb": 1, "sound": 1}],
    "a clip that lacks one": [{"sound": 33}],
    "three ragged clips": [{"rgb": 9, "sound": 40}, {"rgb": 3}, {"rgb": 5, "sound": 12}],
    "longer than any in training": [{"rgb": 13, "sound": 71}, {"rgb": 11, "sound": 50}],
}


@pytest.mark.slow
@pytest.mark.parametrize("base", [*BASE, CAUSAL], ids=case_id)
def test_an_onnx_file_gives_the_same_logits(base, tmp_path):
    features = {"rgb": FEATURES["rgb"], "sound": FEATURES["sound"]}
    model = model_of(shallow(base), features=features, lengths={name: LONGEST[name] for name in features})
    predictor = Predictor(model, Labels("class", tuple("abc"[:CLASSES])), None, {}, WHOLE)
    program = Program(predictor).eval()
    write_onnx(program, tmp_path / "model.onnx")
    runner = open_file(tmp_path / "model.onnx")
    generator = torch.Generator().manual_seed(0)
    for what, counts in BATCHES.items():
        clips = [{n: torch.randn(size, features[n], generator=generator) for n, size in c.items()} for c in counts]
        said = runner(pad([{n: x for n, x in c.items() if n in model.modalities} for c in clips], program.inputs))
        for row, clip in zip(said, clips, strict=True):
            if not set(clip) & set(model.modalities):
                continue
            with torch.no_grad():
                expected = model(predictor.tokens(clip)[0]).logits[0]
            np.testing.assert_allclose(row, expected, rtol=0, atol=TOLERANCE, err_msg=what)
