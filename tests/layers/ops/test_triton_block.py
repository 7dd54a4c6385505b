"""Blocks and the embedding in Triton give what the definition gives: outputs, and gradients of all they read."""

import pytest
import torch

from sparsefuse.layers import ops
from sparsefuse.layers.block import Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.fused import run_blocks
from sparsefuse.layers.ops import BlockWeights, triton
from sparsefuse.layers.pool import windows
from sparsefuse.tokens import Tokens

if not triton.unavailable():
    from sparsefuse.layers.ops.triton import block, embed, patterns, pool
    from sparsefuse.layers.ops.triton import windows as own


def stack(depth, dim, hidden):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3 * dim, dim), (3 * dim,), (dim, dim), (dim,)]
    shapes += [(dim,), (dim,), (hidden, dim), (hidden,), (dim, hidden), (dim,)] if hidden else []
    return [BlockWeights(*(0.3 * torch.randn(s, generator=generator) for s in shapes)) for _ in range(depth)]


def ragged(length, *, weights=False):
    generator = torch.Generator().manual_seed(length)
    mask = torch.arange(length) < torch.tensor([length, max(1, length * 2 // 3), 1])[:, None]
    return mask * torch.rand(mask.shape, generator=generator).clamp_min(0.1) if weights else mask


def outcome(run, x, mask, weights, dtype, device="cpu", **options):
    x = x.to(device, dtype).requires_grad_()
    weights = [
        BlockWeights(*(None if w is None else w.to(device, dtype).requires_grad_() for w in each)) for each in weights
    ]
    mask = mask.to(device)
    y = run(x, mask, weights, eps=1e-5, **options)
    real = (mask > 0)[..., None]
    towards = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y) * real
    leaves = [x, *(w for each in weights for w in each if w is not None)]
    return [t.detach().cpu().double() for t in (y * real, *torch.autograd.grad((y * towards).sum(), leaves))]


def check(length, dim, hidden, heads, depth, device, *, weights=False, pattern="dense", span=0):
    x = torch.randn(3, length, dim, generator=torch.Generator().manual_seed(2))
    mask, given, options = (
        ragged(length, weights=weights),
        stack(depth, dim, hidden),
        {"num_heads": heads, "pattern": pattern},
    )
    got = outcome(block.blocks, x, mask, given, torch.float32, device, span=span, **options)
    wanted = outcome(ops.definition.blocks, x, mask, given, torch.float64, span=span, **options)
    for mine, expected in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=2e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("weights", [pytest.param(False, marks=pytest.mark.slow), True], ids=["mask", "weights"])
@pytest.mark.parametrize("hidden", [0, 7, 12])
def test_few_tokens_in_one_kernel(hidden, weights, device):
    check(13, 12, hidden, 3, 2, device, weights=weights)


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "span", "hidden"), [("dense", 0, 12), ("local", 6, 7), ("strided", 8, 0)])
def test_many_tokens_in_three_kernels_a_block(pattern, span, hidden, device, monkeypatch):
    monkeypatch.setattr(block, "STACK_TOKENS", 4)
    monkeypatch.setattr(block, "ROWS", 16)
    check(19, 12, hidden, 3, 2 if pattern == "dense" else 1, device, weights=True, pattern=pattern, span=span)


@pytest.mark.slow
def test_the_strided_pattern_in_two_passes(device, monkeypatch):
    monkeypatch.setattr(patterns, "FEW", 8)
    check(19, 12, 0, 3, 1, device, pattern="strided", span=4)


@pytest.mark.parametrize("where", ["x", "qkv", "out_bias", "norm", "first", "second_bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_swallowed(where, value, device):
    x, mask, (weights,) = torch.randn(3, 6, 8), ragged(6), stack(1, 8, 8)
    (x if where == "x" else getattr(weights, where)).view(-1)[3] = value
    options = {"num_heads": 2, "pattern": "dense", "span": 0}
    got = outcome(block.blocks, x, mask, [weights], torch.float32, device, **options)
    wanted = outcome(ops.definition.blocks, x, mask, [weights], torch.float64, **options)
    for mine, expected in zip(got, wanted, strict=True):
        assert not mine[~expected.isfinite()].isfinite().any()


def test_autocast_keeps_the_residual_stream_and_rounds_products(device):
    layers = [Block(16, 2).to(device) for _ in range(2)]
    tokens = Tokens(torch.randn(2, 9, 16, device=device), torch.ones(2, 9, dtype=torch.bool, device=device))
    with torch.no_grad():
        exact = run_blocks(layers, tokens).x
        with torch.autocast(device, dtype=torch.bfloat16), ops.backend("torch"):
            wanted = run_blocks(layers, tokens).x
        with torch.autocast(device, dtype=torch.bfloat16), ops.backend("triton"):
            got = run_blocks(layers, tokens).x
    assert got.dtype == wanted.dtype == torch.float32
    rounding = float((wanted - exact).abs().max())
    assert 0 < float((got - exact).abs().max()) < 2 * rounding


def test_a_replaced_module_is_called(device):
    class PlusOne(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) + 1

    layer = Block(16, 2).to(device)
    layer.attention.qkv.__class__ = PlusOne
    tokens = Tokens(torch.randn(1, 5, 16, device=device), torch.ones(1, 5, dtype=torch.bool, device=device))
    with ops.backend("torch"):
        wanted = run_blocks([layer], tokens).x
    with ops.backend("triton"):
        torch.testing.assert_close(run_blocks([layer], tokens).x, wanted)


def test_a_second_derivative_is_refused(device):
    x, mask = torch.randn(1, 5, 8, device=device, requires_grad=True), torch.ones(1, 5, dtype=torch.bool, device=device)
    weights = [BlockWeights(*(w.to(device) for w in stack(1, 8, 8)[0]))]
    y = block.blocks(x, mask, weights, num_heads=2, pattern="dense", span=0, eps=1e-5)
    with pytest.raises(RuntimeError, match="triton has no second derivatives"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize(("features", "dim"), [(5, 12), (70, 20)])
def test_the_embedding(features, dim, device):
    length, generator = 9, torch.Generator().manual_seed(0)
    x = torch.randn(2, length, features, generator=generator)
    given = [torch.randn(s, generator=generator) for s in ((dim, features), (dim,), (dim,), (length + 4, dim))]
    towards = torch.randn(2, 1 + length, dim, generator=generator)

    def run(embedding, dtype, device):
        leaves = [t.to(device, dtype).requires_grad_() for t in given]
        y = embedding(x.to(device, dtype), *leaves)
        return [y, *torch.autograd.grad((y * towards.to(y)).sum(), leaves)]

    wanted = run(ops.definition.embedding, torch.float64, "cpu")
    for mine, expected in zip(run(embed.embedding, torch.float32, device), wanted, strict=True):
        torch.testing.assert_close(mine.cpu().double(), expected, rtol=1e-5, atol=2e-5)


def test_embed_uses_it(device, monkeypatch):
    calls = []
    monkeypatch.setattr(triton, "embedding", lambda *a: calls.append(1) or embed.embedding(*a))
    layer = Embed({"a": 6}, 8, lengths={"a": 9}).to(device)
    tokens = {"a": Tokens(torch.randn(2, 7, 6, device=device), torch.ones(2, 7, dtype=torch.bool, device=device))}
    with ops.backend("torch"):
        wanted = layer(tokens).streams["a"].x
    with ops.backend("triton"):
        torch.testing.assert_close(layer(tokens).streams["a"].x, wanted)
    assert calls


@pytest.mark.parametrize("options", [{"keep": 4}, {"stride": 3}], ids=str)
@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_means_over_windows(value, options, device):
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(3, 11, 5, generator=generator), ragged(11, weights=True)
    mask[0, 4] = 0  # a gap
    x[1, 2, 3] += value
    index, count = windows(mask, **options)
    towards = torch.randn(3, count, 5, generator=generator)

    def run(means, dtype, device):
        given = x.to(device, dtype).requires_grad_(), mask.to(device, dtype).requires_grad_()
        y = means(*given, index.to(device), count)
        return [t.detach().cpu().double() for t in (y, *torch.autograd.grad((y * towards.to(y)).sum(), given))]

    wanted = run(ops.definition.window_means, torch.float64, "cpu")
    for mine, expected in zip(run(pool.window_means, torch.float32, device), wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("options", [{"keep": 4}, {"keep": 12}, {"stride": 3}, {"stride": 20}, {"stride": 1}], ids=str)
@pytest.mark.parametrize("length", [1, 9, 2500])
def test_windows_of_tokens(length, options, weights, device):
    """Real tokens anywhere, all of them, none."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(4, length, generator=generator) * (torch.rand(4, length, generator=generator) > 0.3)
    mask[1], mask[2] = 0, 1
    mask = mask if weights else mask > 0
    index = own.window_index(mask.to(device), **options)
    assert index.dtype == torch.long
    assert index.cpu().equal(ops.definition.window_index(mask, **options))
