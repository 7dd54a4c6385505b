"""Only layers that gain by it are compiled."""

import pytest
import torch

from sparsefuse.layers.ops.native import building
from sparsefuse.methods import build
from sparsefuse.training import compiling
from sparsefuse.training.compiling import compile_layers

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch on importing its compiler

FEATURES, LENGTHS = {"a": 6, "b": 4}, {"a": 40, "b": 9}
SMALL = {"dim": 10, "num_heads": 5}


def compiled(model):
    return [place for place, layer in enumerate(model.layers) if layer._compiled_call_impl is not None]


@pytest.mark.parametrize(
    ("method", "options", "places"),
    [
        (
            "sft",
            {"keep": 3, "unimodal_depth": 2, "fusion_depth": 2},
            [3, 4, 5],
        ),  # two layers, one that pools
        ("late", {"unimodal_depth": 2}, []),
        ("late", {"unimodal_depth": 3, "stride": 4}, [2, 3]),  # a layer, one that pools
    ],
)
def test_layers_behind_the_pooling_are_compiled(method, options, places, monkeypatch):
    monkeypatch.setattr(compiling, "library", lambda name, width: None)
    model = build(method, FEATURES, 3, lengths=LENGTHS, **SMALL, **options)
    assert compile_layers(model) == places
    assert compiled(model) == places


@pytest.mark.skipif(building.library("attention", 2) is None, reason="no C++ compiler here")
def test_layers_in_cpp_are_left_alone():
    model = build("sft", FEATURES, 3, lengths=LENGTHS, **SMALL, keep=3, fusion_depth=2)
    assert compile_layers(model) == [2]  # the one that joins
    wide = build("sft", FEATURES, 3, lengths=LENGTHS, dim=34, num_heads=2, keep=3, fusion_depth=2)
    assert compile_layers(wide) == [2, 3, 4]


def test_off_the_processor_all_layers_are_compiled():
    with torch.device("meta"):
        model = build("late", FEATURES, 3, lengths=LENGTHS, **SMALL, unimodal_depth=2)
    assert compile_layers(model) == [0, 1]
