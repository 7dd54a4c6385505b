"""Attention among few tokens in one operation equals softmax as it is defined."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsefuse.layers import attention, powers
from sparsefuse.layers.block import Attention


def defined(layer, x, mask):
    """By its definition, head by head and sample by sample; a sample without tokens reads nothing."""
    width = x.shape[2] // layer.num_heads
    samples = []
    for one, weights in zip(x, mask.to(x.dtype), strict=True):
        q, k, v = layer.qkv(one).split(x.shape[2], 1)
        heads = []
        for head in range(layer.num_heads):
            of = slice(head * width, (head + 1) * width)
            scores = q[:, of] @ k[:, of].T / width**0.5
            shares = (scores - scores.amax(1, keepdim=True)).exp() * weights
            total = shares.sum(1, keepdim=True)
            heads.append(shares / total @ v[:, of] if weights.any() else torch.zeros_like(v[:, of]))
        samples.append(layer.out(torch.cat(heads, 1)))
    return torch.stack(samples)


def outcome(attend, layer, x, mask):
    x = x.clone().requires_grad_()
    y = attend(x, mask) * (mask > 0)[..., None]
    towards = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * towards).sum(), [x, *layer.parameters()], materialize_grads=True)]


def made(num_heads=3, larger=1.0):
    torch.manual_seed(0)
    layer = Attention(4 * num_heads, num_heads).double()
    torch.nn.init.normal_(layer.qkv.bias)
    torch.nn.init.normal_(layer.out.bias)
    with torch.no_grad():
        layer.qkv.weight *= larger**0.5
    return layer


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    extra=st.integers(1, 4),
    num_heads=st.sampled_from([1, 3]),
    larger=st.sampled_from([1.0, 30.0, 300.0]),
    fractional=st.booleans(),
    seed=st.integers(0, 99),
)
def test_few_tokens_attend_as_defined(lengths, extra, num_heads, larger, fractional, seed):
    layer, padded = made(num_heads, larger), max(lengths) + extra
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), padded, 4 * num_heads, generator=generator, dtype=torch.float64)
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    if fractional:
        mask = mask * (0.1 + 0.9 * torch.rand(mask.shape, generator=generator, dtype=torch.float64))
    mine = outcome(lambda *given: layer(*given).x, layer, x, mask)
    for got, wanted in zip(mine, outcome(lambda *given: defined(layer, *given), layer, x, mask), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-7)


def test_it_is_one_operation_for_few_tokens_only(monkeypatch):
    layer, x, mask = made(), torch.randn(2, 9, 12, dtype=torch.float64), torch.ones(2, 9, dtype=torch.bool)
    assert type(layer(x, mask).x.grad_fn).__name__ == "_FewBackward"
    monkeypatch.setattr(attention, "FEW", 80)  # of 81 scores
    assert type(layer(x, mask).x.grad_fn).__name__ != "_FewBackward"


@pytest.mark.parametrize("given", [[2.0**-65, 1.0], [1.0, 2.0**65], [0.0, 1.0], [float("nan"), 1.0]])
def test_sums_out_of_range_are_not_trusted(given):
    share = torch.tensor(given)[:, None]
    assert not powers.trusted(share, torch.tensor([True]))
    assert powers.trusted(share[1:] if share[0] != 1 else share[:1], torch.tensor([True]))


def test_what_a_sample_lacks_need_not_be_trusted():
    share = torch.tensor([[1.0], [0.0], [1.0], [0.0]])  # two heads of two samples, the second missing
    assert powers.trusted(share, torch.tensor([True, False]))
    assert not powers.trusted(share, torch.tensor([True, True]))
