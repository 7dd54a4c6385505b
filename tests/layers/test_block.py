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


def test_the_released_style_of_mbt_has_its_norms_and_the_tanh_form_of_gelu():
    """By hand: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), and 1e-6 in the variance."""
    torch.manual_seed(0)
    block = Block(4, 2, mlp_ratio=2, style="scenic").eval()
    x = 1e-3 * torch.randn(2, 3, 4)  # so small that what the norm adds to the variance matters
    norm, first, _, _, second = block.mlp
    centred = x - x.mean(-1, keepdim=True)
    hidden = first(centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt())
    hidden = 0.5 * hidden * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (hidden + 0.044715 * hidden**3)))
    torch.testing.assert_close(block.mlp(x), second(hidden), rtol=1e-5, atol=1e-6)
    assert block.norm.eps == norm.eps == 1e-6
    exact = Block(4, 2, mlp_ratio=2, style="vit").eval()
    exact.load_state_dict(block.state_dict())
    assert (exact.mlp(x) - block.mlp(x)).abs().max() > 1e-4
