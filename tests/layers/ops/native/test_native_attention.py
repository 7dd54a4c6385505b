"""Attention in C++ equals the patterns' definition, alone or in company."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsefuse.layers import ops
from sparsefuse.layers.block import Attention, CrossAttention
from sparsefuse.layers.heads import heads
from sparsefuse.layers.ops import native

built = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())


def layer(pattern, num_heads=3, width=4, span=4, larger=1.0):
    torch.manual_seed(0)
    made = Attention(width * num_heads, num_heads, pattern=pattern, span=span)
    torch.nn.init.normal_(made.qkv.bias)
    torch.nn.init.normal_(made.out.bias)
    with torch.no_grad():
        made.qkv.weight *= larger**0.5
    return made


def clips(lengths, padded, width=12, *, fractional=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), 1 + padded, width, generator=generator)
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    mask = torch.cat([mask.any(1, keepdim=True), mask], 1)
    return x, mask * (0.1 + 0.9 * torch.rand(mask.shape, generator=generator)) if fractional else mask


def qkv(made, x):
    return heads(made.qkv(x), 3, made.num_heads)


def defined(made, x, mask):
    """By the functions that `test_patterns` holds against a loop over queries and keys."""
    q, k, v = qkv(made, x)
    x = ops.definition.attention(q, k, v, mask, pattern=made.pattern, span=made.span)
    return made.out(x.transpose(1, 2).flatten(2))


def outcome(attend, made, x, mask):
    """What is read, and the slopes of tokens and weights, all as if nothing stood where the mask is 0."""
    x = x.clone().requires_grad_()
    y = attend(made, x, mask) * (mask > 0)[..., None]
    towards = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y, *torch.autograd.grad((y * towards).sum(), [x, *made.parameters()])]


def check(made, x, mask, rtol=1e-4):
    mine = outcome(lambda made, x, mask: made(x, mask).x, made, x, mask)
    exact = outcome(defined, copy.deepcopy(made).double(), x.double(), mask)
    for got, wanted in zip(mine, exact, strict=True):
        largest = max(1.0, float(wanted.detach().abs().max()))
        torch.testing.assert_close(got.double(), wanted, rtol=rtol, atol=rtol * largest)


@built
@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    pattern=st.sampled_from(["dense", "local", "strided"]),
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=3),
    extra=st.integers(0, 5),
    span=st.sampled_from([2, 4, 6, 18, 40]),
    num_heads=st.sampled_from([1, 3]),
    larger=st.sampled_from([1.0, 30.0]),
    fractional=st.booleans(),
)
def test_it_equals_the_definition(pattern, lengths, extra, span, num_heads, larger, fractional):
    made = layer(pattern, num_heads, span=span, larger=larger)
    x, mask = clips(lengths, max(lengths) + extra, 4 * num_heads, fractional=fractional)
    assert ops.choose("attention", *qkv(made, x), mask, pattern=pattern) is native
    check(made, x.detach(), mask, rtol=1e-5 * larger)


@built
@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
@pytest.mark.parametrize("width", [1, 5, 16])
def test_heads_of_any_width_up_to_the_widest(pattern, width):
    made = layer(pattern, 2, width, span=6)
    x, mask = clips([70, 40], 70, 2 * width)
    check(made, x, mask)


@built
@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_scores_of_thousands_stay_finite_and_exact(pattern):
    made = layer(pattern, larger=3000.0)
    x, mask = clips([60, 20], 60)
    got, exact = made(x, mask).x, defined(copy.deepcopy(made).double(), x.double(), mask)
    assert float(made.qkv(x).detach()[..., :12].square().sum(2).amax()) > 1e4
    torch.testing.assert_close(
        got[mask].double(), exact[mask], rtol=2e-3, atol=2e-3 * float(exact.detach().abs().max())
    )


@built
@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
@pytest.mark.parametrize("length", [5, 60])
def test_scores_far_below_zero_are_exact_too(pattern, length):
    """2^-score would be no number, so it must not come from the lanes of a vector that hold no key."""
    made = layer(pattern)
    with torch.no_grad():
        made.qkv.bias[:12] = -30
        made.qkv.bias[12:24] = 30
    check(made, *clips([length, length - 4], length), rtol=1e-3)


@built
@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_a_clip_that_is_not_there_reads_nothing(pattern):
    made = layer(pattern)
    x, mask = clips([0, 30], 30)
    y, *slopes = outcome(lambda made, x, mask: made(x, mask).x, made, x, mask)
    assert made(x, mask).x[0].equal(made.out.bias.expand(31, -1))
    assert y.isfinite().all()
    assert all(slope.isfinite().all() for slope in slopes)
    assert not slopes[0][0].any()


@pytest.mark.parametrize("pattern", ["dense", "local", "strided", "fixed"])
def test_no_clips_and_no_tokens_give_nothing(pattern):
    made = layer(pattern)
    assert made(torch.zeros(0, 21, 12), torch.zeros(0, 21, dtype=torch.bool)).x.shape == (0, 21, 12)


@built
def test_queries_of_one_stream_read_another():
    torch.manual_seed(0)
    made = CrossAttention(12, 3)
    x, (source, mask) = torch.randn(2, 7, 12), clips([40, 25], 40, fractional=True)
    exact = copy.deepcopy(made).double()

    def slopes(made, x, source):
        x, source = x.clone().requires_grad_(), source.clone().requires_grad_()
        y = made(x, source, mask)
        return [y, *torch.autograd.grad(y.square().sum(), [x, source, *made.parameters()])]

    for got, wanted in zip(slopes(made, x, source), slopes(exact, x.double(), source.double()), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-4)


@built
def test_neither_threads_nor_company_change_a_bit():
    """Unlike with PyTorch's products, whose sums depend on both."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, 70, 4, generator=generator, requires_grad=True) for _ in range(3))
    mask = torch.ones(3, 70, dtype=torch.bool)

    def slopes(threads, clips):
        torch.set_num_threads(threads)
        parts = [t.detach()[clips].requires_grad_() for t in (q, k, v)]
        y = native.attention(*parts, mask[clips], pattern="dense", span=0)
        return [y, *torch.autograd.grad(y.square().sum(), parts)]

    alone, together = slopes(1, slice(1, 2)), slopes(2, slice(0, 3))
    assert all(a.equal(b[1:2]) for a, b in zip(alone, together, strict=True))


def dense(q, k, v, mask):
    return native.attention(q, k, v, mask, pattern="dense", span=0)


@built
def test_gradients_that_lie_oddly_are_read_right():
    q, k, v = (torch.randn(2, 3, 9, 4, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 9, dtype=torch.bool)
    summed = torch.autograd.grad(dense(q, k, v, mask).sum(), [q, k, v])  # flows in as one number, expanded
    weighed = torch.autograd.grad((dense(q, k, v, mask) * torch.ones(2, 3, 9, 4)).sum(), [q, k, v])
    turned = dense(*(t.mT.contiguous().mT for t in (q, k, v)), mask)
    for got, wanted in zip(summed, weighed, strict=True):
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(turned, dense(q, k, v, mask))


@built
@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda q, mask: (q.double(), mask), "dense"),
        (lambda q, mask: (q, mask.float().requires_grad_()), "dense"),
        (lambda q, mask: (q.bfloat16(), mask), "dense"),
        (lambda q, mask: (torch.randn(1, 3, 10, 17), mask), "dense"),
        (lambda q, mask: (q, mask), "fixed"),
    ],
    ids=["double", "mask", "bfloat16", "wide", "fixed"],
)
def test_what_it_does_not_support_is_the_definitions(change, pattern):
    q, mask = torch.randn(1, 3, 10, 4), torch.ones(1, 10, dtype=torch.bool)
    assert ops.choose("attention", q, q, q, mask, pattern="dense") is native
    q, mask = change(q, mask)
    assert ops.choose("attention", q, q, q, mask, pattern=pattern) is ops.definition
