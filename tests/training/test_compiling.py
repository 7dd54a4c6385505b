"""Only layers that gain by it are compiled."""

import pytest
import torch

from sparsefuse.layers import ops
from sparsefuse.layers.ops import native
from sparsefuse.methods import build
from sparsefuse.training.compiling import compile_layers

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch on importing its compiler


def model():
    sizes = {"dim": 10, "num_heads": 5, "keep": 3, "unimodal_depth": 2, "fusion_depth": 2}
    return build("sft", {"a": 6, "b": 4}, 3, lengths={"a": 40, "b": 9}, **sizes)


def compiled(model):
    return [place for place, layer in enumerate(model.layers) if layer._compiled_call_impl is not None]


@pytest.mark.slow
def test_layers_are_compiled_where_no_backend_is_faster():
    made = model()
    with ops.backend("torch"):
        assert compile_layers(made) == list(range(len(made.layers)))
    assert compiled(made) == list(range(len(made.layers)))


@pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())
def test_layers_that_a_backend_computes_are_left_alone():
    made = model()
    assert compile_layers(made) == []
    assert compiled(made) == []


def test_off_the_processor_all_layers_are_compiled():
    with torch.device("meta"):
        made = model()
    assert compile_layers(made) == list(range(len(made.layers)))
