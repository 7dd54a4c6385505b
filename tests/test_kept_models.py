"""Tests that share a model do not meet each other's changes."""

import pytest
import torch

from kept_models import kept


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))


def spoil(model):
    model[0].weight.data = torch.zeros(2, 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch on importing its compiler
@pytest.mark.parametrize(
    "change",
    [
        lambda model: torch.nn.init.zeros_(model[0].weight),
        spoil,
        lambda model: model.load_state_dict(build().state_dict()),
        lambda model: model.double(),
        lambda model: model.train()(torch.ones(3, 2)),
        lambda model: model[0].requires_grad_(False),
        lambda model: model[0].compile(),
    ],
)
def test_a_changed_model_is_built_anew(change, request):
    key = request.node.name
    model = kept(key, build)
    assert kept(key, build) is model
    change(model)
    again = kept(key, build)
    assert again is not model
    torch.testing.assert_close(again.state_dict(), build().state_dict())


def test_gradients_and_mode_do_not_stay():
    model = kept("model", build)
    model(torch.ones(3, 2)).sum().backward()
    model.train()
    assert kept("model", build) is model
    assert not model.training
    assert model[0].weight.grad is None


def test_random_numbers_go_on_as_after_building():
    kept("model", build)
    first = torch.rand(3)
    kept("model", build)
    assert torch.rand(3).equal(first)
