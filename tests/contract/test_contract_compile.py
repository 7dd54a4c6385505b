"""torch.compile, layer by layer: as one graph each, and the same logits."""

import pytest
import torch
from contract_cases import BASE, FEATURES, LONGEST, RAGGED, case_id, clips, logits_of, model_of, shallow

# Compiled kernels reorder sums; float32 leaves about 1e-6 per layer.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
TWO = ("rgb", "sound")  # a third compiles the same layers for other shapes
INSIDE_TORCH = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # on importing its own compiler


@pytest.mark.slow
@INSIDE_TORCH
@pytest.mark.parametrize("base", BASE, ids=case_id)
def test_layers_compile_as_one_graph_each_and_agree_with_eager(base):
    model = model_of(shallow(base), features={n: FEATURES[n] for n in TWO}, lengths={n: LONGEST[n] for n in TWO})
    batch = clips({name: RAGGED[name] for name in TWO})
    expected = logits_of(model, batch)
    torch._dynamo.reset()
    for layer in model.layers:
        layer.compile(fullgraph=True)
    torch.testing.assert_close(logits_of(model, batch), expected, **CLOSE)
