"""torch.compile, layer by layer: as one graph each, and the same logits."""

import pytest
import torch
from contract_cases import LONGEST, logits_of, model_of, ragged

# Compiled kernels reorder sums; float32 leaves about 1e-6 per layer.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def compiled(model, **options):
    torch._dynamo.reset()
    for layer in model.layers:
        layer.compile(**options)
    return model


def test_layers_trace_as_one_graph_each(case):
    model = model_of(case, lengths=LONGEST)
    expected = logits_of(model, ragged())
    torch.testing.assert_close(logits_of(compiled(model, backend="eager", fullgraph=True), ragged()), expected)


def check_compiled(case, **kwargs):
    model = model_of(case, **kwargs)
    batch = ragged() if "features" not in kwargs else {name: ragged()[name] for name in kwargs["features"]}
    expected = logits_of(model, batch)
    torch.testing.assert_close(logits_of(compiled(model), batch), expected, **CLOSE)


INSIDE_TORCH = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # on importing its own compiler


@pytest.mark.slow
@INSIDE_TORCH
def test_compiled_layers_agree_with_eager(case):
    check_compiled(case, lengths=LONGEST)


@INSIDE_TORCH
def test_compiled_layers_agree_with_eager_in_one_method():
    check_compiled(("sft", {"dim": 10, "num_heads": 5, "keep": 3, "fusion_depth": 1}), features={"sound": 4})
