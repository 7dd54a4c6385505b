"""What a residual branch passes through."""

import pytest
import torch

from sparsefuse.layers.block import Block, DropPath
from sparsefuse.methods import build
from sparsefuse.tokens import Tokens


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    path = DropPath(0.3).train()
    x = path(torch.ones(4000, 2, 3))
    assert x.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert x.flatten(1).amax(1).equal(x.flatten(1).amin(1))
    assert x.mean().item() == pytest.approx(1, abs=0.03)
    assert path.eval()(x) is x


def test_a_block_draws_for_each_of_its_branches():
    """A sample comes out as it is only if both branches were dropped: at 0.5 in a quarter of the cases."""
    torch.manual_seed(0)
    block = Block(4, 2, drop_path=0.5).train()
    x = torch.randn(4000, 2, 4)
    same = (block(Tokens(x, torch.ones(4000, 2, dtype=torch.bool))).x == x).flatten(1).all(1)
    assert same.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_stochastic_depth_grows_with_depth():
    model = build("mbt", {"a": 2, "b": 3}, 2, unimodal_depth=2, fusion_depth=2, drop_path=0.3)
    found = [module.p for module in model.modules() if isinstance(module, DropPath)]
    assert found == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])  # the first layer has none


def test_a_drop_path_of_one_is_refused():
    with pytest.raises(ValueError, match=r"drop_path must be in \[0, 1\); got 1.0"):
        build("mbt", {"a": 2}, 2, drop_path=1.0)
