"""The bottleneck, by hand: blocks that add a constant show who changed what."""

import pytest
import torch
from torch import nn

from sparsefuse.methods import build
from sparsefuse.methods.mbt import AddBottleneck, ThroughBottleneck
from sparsefuse.tokens import State, Tokens


class Plus(nn.Module):
    """Adds `amount` and the number of visible tokens to every token."""

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, tokens):
        return Tokens(tokens.x + self.amount + tokens.mask.sum(1)[:, None, None], tokens.mask)


def after(update, *, depth=1):
    """Sample 0 has both modalities (a: 3 tokens with CLS, b: 2), sample 1 lacks b. The bottleneck: 2 tokens of 0."""
    a = Tokens(torch.zeros(2, 3, 1), torch.ones(2, 3, dtype=torch.bool))
    b = Tokens(torch.zeros(2, 2, 1), torch.tensor([[True, True], [False, False]]))
    bottleneck = Tokens(torch.zeros(2, 2, 1), torch.ones(2, 2, dtype=torch.bool))
    state = State({"a": a, "b": b, "bottleneck": bottleneck}, torch.zeros(()))
    for _ in range(depth):
        state = ThroughBottleneck(("a", "b"), {"a": Plus(10.0), "b": Plus(100.0)}.__getitem__, update)(state)
    return {name: t.x[:, 0, 0].tolist() for name, t in state.streams.items()}


def test_the_symmetric_bottleneck_is_the_mean_over_the_modalities_that_are_there():
    # a sees 3 + 2 tokens: + 15; b sees 2 + 2: + 104
    x = after("symmetric")
    assert x["a"] == [15, 15]
    assert x["b"][0] == 104
    assert x["bottleneck"] == [(15 + 104) / 2, 15]


def test_the_sequential_bottleneck_passes_from_one_modality_to_the_next():
    x = after("sequential")
    assert x["a"] == [15, 15]
    assert x["b"][0] == 104
    assert x["bottleneck"] == [15 + 104, 15]  # sample 1 lacks b, which leaves the bottleneck as it was


def test_the_bottleneck_is_learned_and_the_same_for_every_sample():
    layer = AddBottleneck(3, 4)
    stream = Tokens(torch.zeros(2, 1, 4), torch.tensor([[True], [False]]))
    bottleneck = layer(State({"a": stream}, torch.zeros(()))).streams["bottleneck"]
    assert torch.equal(bottleneck.x[0], bottleneck.x[1])
    assert torch.equal(bottleneck.x[0], layer.tokens[0])
    assert bottleneck.x.requires_grad
    assert bottleneck.mask.all()


def test_shared_encoders_have_one_block_per_layer():
    def parameters(**options):
        model = build("mbt", {"a": 2, "b": 3, "c": 2}, 2, unimodal_depth=2, fusion_depth=1, **options)
        return sum(parameter.numel() for layer in model.layers for parameter in layer.parameters())

    block = 9_920  # width 40, see papers/test_sft.py
    assert parameters(fusion="cross") == 9 * block
    assert parameters(fusion="cross", shared=True) == 3 * block
    assert parameters(shared=True) == 3 * block + 4 * 40
    assert parameters(fusion="vanilla") == 7 * block


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "vanila"}, "unknown fusion 'vanila'; did you mean 'vanilla'"),
        ({"update": "symetric"}, "unknown update 'symetric'; did you mean 'symmetric'"),
        ({"num_bottlenecks": 0}, "num_bottlenecks must be 1 or more; got 0"),
        ({"loss": "every"}, "unknown loss 'every'"),
    ],
)
def test_unknown_options_are_errors_that_name_the_nearest(options, message):
    with pytest.raises(ValueError, match=message):
        build("mbt", {"a": 2}, 2, **options)
