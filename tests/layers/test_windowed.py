"""Local attention from tokens to tokens equals the pattern's definition, and says when it cannot be trusted."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsefuse.layers import block, powers, windowed
from sparsefuse.layers.block import Attention
from sparsefuse.layers.heads import heads
from sparsefuse.layers.ops.torch.attention import local


def layer(span, *, num_heads=3, seed=0):
    torch.manual_seed(seed)
    made = Attention(4 * num_heads, num_heads, pattern="local", span=span).double()
    torch.nn.init.normal_(made.qkv.bias)
    torch.nn.init.normal_(made.out.bias)
    return made


def defined(attention, x, mask):
    """By the pattern's function, which `test_sparse_patterns` holds against a loop over queries and keys."""
    q, k, v = heads(attention.qkv(x), 3, attention.num_heads)
    return attention.out(local(q, k, v, mask, span=attention.span).x.transpose(1, 2).flatten(2))


def clips(lengths, padded, *, width=12, fractional=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), 1 + padded, width, generator=generator, dtype=torch.float64)
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    mask = torch.cat([mask.any(1, keepdim=True), mask], 1)
    if fractional:
        mask = mask * (0.1 + 0.9 * torch.rand(mask.shape, generator=generator, dtype=torch.float64))
    return x, mask


def outcome(attend, attention, x, mask):
    x = x.clone().requires_grad_()
    real = (mask > 0)[..., None]
    y = attend(x, mask) * real
    generator = torch.Generator().manual_seed(1)
    towards = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    return [y, *torch.autograd.grad((y * towards).sum(), [x, *attention.parameters()])]


@settings(deadline=None, max_examples=20, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    extra=st.integers(1, 9),
    span=st.sampled_from([2, 4, 6, 8]),
    fractional=st.booleans(),
    cached=st.sampled_from([1, 1000, 2**18]),
)
def test_windows_equal_the_definition(lengths, extra, span, fractional, cached):
    attention = layer(span)
    x, mask = clips(lengths, max(*lengths, span) + extra, fractional=fractional)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windowed, "CACHED", cached)
        mine = outcome(lambda *given: attention(*given).x, attention, x, mask)
    assert "_Windowed" in graph(attention(x.requires_grad_(), mask).x)  # it was this one that ran
    expected = outcome(lambda *given: defined(attention, *given), attention, x, mask)
    for got, wanted in zip(mine, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)  # the definition has its log-weights in float32


def graph(y):
    """Names of all that made y."""
    found, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return " ".join(type(node).__name__ for node in found)


def test_a_clip_that_is_not_there_reads_nothing():
    attention = layer(4)
    x, mask = clips([0, 20], 20)
    y, *slopes = outcome(lambda *given: attention(*given).x, attention, x, mask)
    assert y.isfinite().all()
    assert all(slope.isfinite().all() for slope in slopes)
    assert not slopes[0][0].any()


@pytest.mark.parametrize("pattern", ["dense", "local"])
def test_no_clips_give_nothing(pattern):
    attention = Attention(12, 3, pattern=pattern, span=4).double()
    y = attention(torch.zeros(0, 21, 12, dtype=torch.float64), torch.zeros(0, 21, dtype=torch.bool)).x
    assert y.shape == (0, 21, 12)


@settings(deadline=None, max_examples=10, derandomize=True)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=2), larger=st.sampled_from([3, 30, 300]))
def test_scores_too_large_for_powers_have_their_maximum_taken_off(lengths, larger):
    """A factor of 300 makes scores of thousands: 2 to their power is no number."""
    attention = layer(4)
    x, mask = clips(lengths, max(*lengths, 5) + 3, fractional=True)
    with torch.no_grad():
        attention.qkv.weight *= larger**0.5
    mine = outcome(lambda *given: attention(*given).x, attention, x, mask)
    expected = outcome(lambda *given: defined(attention, *given), attention, x, mask)
    for got, wanted in zip(mine, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pattern", ["dense", "strided", "fixed", "local"])
def test_large_scores_stay_exact_in_every_pattern(pattern, monkeypatch):
    attention = Attention(12, 3, pattern=pattern, span=4).double()
    x, mask = clips([160], 160)
    with torch.no_grad():
        attention.qkv.weight *= 30
        mine = attention(x, mask).x
        monkeypatch.setattr(powers, "LARGEST", 0)
        monkeypatch.setattr(block, "eager", lambda x: False)
        torch.testing.assert_close(mine, attention(x, mask).x, rtol=1e-5, atol=1e-6)


def test_whoever_listens_to_the_projection_is_told():
    attention = layer(4)
    x, mask = clips([20], 20)
    quiet = attention(x, mask).x
    heard = []
    attention.qkv.register_forward_hook(lambda module, given, out: heard.append(out))
    torch.testing.assert_close(attention(x, mask).x, quiet, rtol=1e-5, atol=1e-6)
    assert len(heard) == 1


def test_a_mean_of_powers_by_hand():
    """Scores 0, log 2 and 2 log 2: 1, 2 and 4 parts of 7; a weight of one half makes 4 parts 2."""
    q, k = torch.tensor([[[math.log(2)]]]), torch.tensor([[[0.0, 1.0, 2.0]]])  # (1, C, queries), (1, C, keys)
    found = powers.powers(q, k)
    torch.testing.assert_close(found, torch.tensor([[[1.0, 2.0, 4.0]]]))
    values = powers.weighed(torch.tensor([[[7.0, 0.0, 14.0]]]), torch.tensor([[1.0, 1.0, 0.5]]), 1)
    x, share = torch.empty(1, 1, 1), torch.empty(1, 1, 1)
    powers.divide(values @ found.mT, 1, out=x, share=share)
    assert x.item() == pytest.approx((7 * 1 + 14 * 2) / 5)
    assert share.item() == pytest.approx(1 / 5)
    slopes = powers.flowing(torch.tensor([[[10.0]]]), x, share, 1)
    assert slopes.flatten().tolist() == pytest.approx([2, -2 * x.item()])  # d (a / b) = da / b - (a / b) db / b
