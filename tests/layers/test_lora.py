"""Low-rank changes start as none, are of low rank, and leave plain weights behind."""

import pytest
import torch
from torch import nn

from sparsefuse.layers import lora


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))


def changed(rank: int) -> tuple[nn.Sequential, list[nn.Parameter]]:
    net = network()
    new = lora.add([net], rank, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in new:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return net, new


def test_outputs_are_the_same_before_the_first_step() -> None:
    net, x = network(), torch.randn(3, 6)
    before = net(x)
    lora.add([net], 2, torch.Generator())
    assert torch.equal(net(x), before)


def test_merged_weights_compute_the_same_and_are_plain() -> None:
    net, _ = changed(2)
    x = torch.randn(3, 6)
    before = net(x)
    lora.merge([net])
    assert {name: t.shape for name, t in net.state_dict().items()} == {
        name: t.shape for name, t in network().state_dict().items()
    }
    torch.testing.assert_close(net(x), before)


def test_the_change_has_the_rank_that_was_asked_for() -> None:
    net, new = changed(2)
    lora.merge([net])
    assert [tuple(p.shape) for p in new] == [(2, 6), (8, 2), (2, 8), (8, 2)]
    for i in (0, 2):
        assert torch.linalg.matrix_rank(net[i].weight - network()[i].weight, tol=1e-5) == 2
        assert torch.equal(net[i].bias, network()[i].bias)


def test_a_rank_of_more_than_half_a_side_is_cut_to_it() -> None:
    _, new = changed(100)
    assert [tuple(p.shape) for p in new] == [(3, 6), (8, 3), (4, 8), (8, 4)]


def test_a_layer_that_two_modules_share_is_changed_once() -> None:
    net = network()
    assert len(lora.add([net, net[0]], 1, torch.Generator())) == 4


def test_rank_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="rank is 0; expected 1"):
        lora.add([network()], 0, torch.Generator())
