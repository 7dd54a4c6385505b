"""torch.compile, layer by layer: as one graph each, and the same logits."""

import pytest
import torch
from contract_cases import BASE, LONGEST, case_id, logits_of, model_of, ragged

# Compiled kernels reorder sums; float32 leaves about 1e-6 per layer.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def compiled(model, **options):
    torch._dynamo.reset()
    for layer in model.layers:
        layer.compile(**options)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("base", BASE, ids=case_id)
def test_layers_trace_as_one_graph_each(base):
    model = model_of(base, lengths=LONGEST)
    expected = logits_of(model, ragged())
    torch.testing.assert_close(logits_of(compiled(model, backend="eager", fullgraph=True), ragged()), expected)


INSIDE_TORCH = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # on importing its own compiler


@pytest.mark.slow
@INSIDE_TORCH
@pytest.mark.parametrize("base", BASE, ids=case_id)
def test_compiled_layers_agree_with_eager(base):
    model = model_of(base, lengths=LONGEST)
    expected = logits_of(model, ragged())
    torch.testing.assert_close(logits_of(compiled(model), ragged()), expected, **CLOSE)


@pytest.mark.slow
@INSIDE_TORCH
def test_the_compiled_sparse_layer_agrees_with_eager():
    model = model_of(("sft", {"dim": 10, "num_heads": 5, "keep": 3, "fusion_depth": 1}), features={"sound": 4})
    batch = {"sound": ragged()["sound"]}
    expected = logits_of(model, batch)
    torch._dynamo.reset()
    model.layers[1].compile()
    torch.testing.assert_close(logits_of(model, batch), expected, **CLOSE)
