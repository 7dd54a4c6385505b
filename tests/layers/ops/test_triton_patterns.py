"""Attention in Triton gives what the definition gives: outputs and gradients, ragged, of every pattern, NaN and inf."""

import pytest
import torch

from sparsefuse.layers import ops
from sparsefuse.layers.ops import triton, windows

patterns = pytest.importorskip("sparsefuse.layers.ops.triton.patterns") if not triton.unavailable() else None
own = pytest.importorskip("sparsefuse.layers.ops.triton.windows") if patterns else None
HEADS, WIDTH = 2, 5


def tensors(queries, keys, width=WIDTH, batch=2):
    generator = torch.Generator().manual_seed(queries)
    shapes = [(batch, queries, HEADS, width), (batch, keys, HEADS, width), (batch, keys, HEADS, width)]
    return [torch.randn(shape, generator=generator).transpose(1, 2) for shape in shapes]


def ragged(keys, *, weights=False):
    mask = torch.arange(keys) < torch.tensor([keys, keys * 2 // 3])[:, None]
    return mask * torch.rand(2, keys, generator=torch.Generator().manual_seed(0)).clamp_min(0.1) if weights else mask


def outcome(attend, qkv, mask, dtype, device="cpu", **pattern):
    """Outputs at real tokens, and gradients of queries, keys and values."""
    q, k, v = (t.to(device, dtype).requires_grad_() for t in qkv)
    mask = mask.to(device)
    y = attend(q, k, v, mask, **pattern)
    real = torch.ones(()) if y.shape[2] != mask.shape[1] else (mask > 0)[:, None, :, None]
    y = y * real.to(y)
    towards = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [t.detach().cpu().double() for t in (y, *torch.autograd.grad((y * towards).sum(), [q, k, v]))]


def check(qkv, mask, device, dtype=torch.float32, tolerance=2e-5, **pattern):
    got = outcome(patterns.attention, qkv, mask, dtype, device, **pattern)
    wanted = outcome(ops.definition.attention, qkv, mask, torch.float64, **pattern)
    for mine, expected in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=tolerance * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("weights", [pytest.param(False, marks=pytest.mark.slow), True], ids=["mask", "weights"])
@pytest.mark.parametrize(
    ("pattern", "span", "length"),
    [("dense", 0, 21), ("strided", 6, 27), ("fixed", 12, 31), ("local", 6, 27), ("local", 30, 21)],
)
def test_patterns(pattern, span, length, weights, device):
    check(tensors(length, length), ragged(length, weights=weights), device, pattern=pattern, span=span)


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "span", "length"), [("dense", 0, 40), ("strided", 6, 28), ("local", 6, 35)])
def test_many_tiles_and_splits(pattern, span, length, device, monkeypatch):
    """The strided pattern in two passes; CLS, and the keys that all attend to, in splits."""
    monkeypatch.setattr(patterns, "FEW", 8)
    monkeypatch.setattr(patterns, "SPLIT", 16)
    monkeypatch.setattr(patterns, "TILE", 16)
    check(tensors(length, length), ragged(length, weights=True), device, pattern=pattern, span=span)


def test_queries_and_keys_of_two_streams(device):
    check(tensors(7, 20), ragged(20), device, pattern="dense", span=0)


def test_a_head_wider_than_a_tile_of_products(device):
    check(tensors(9, 9, width=20), ragged(9), device, pattern="dense", span=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.04), (torch.float16, 0.006)])
def test_half_precision(dtype, tolerance, device):
    check(tensors(20, 20), ragged(20), device, dtype, tolerance, pattern="local", span=6)


def test_rows_of_any_layout(device):
    q, k, v = tensors(9, 9)
    wide = torch.cat([q, k, v], -1)  # heads apart
    check([*wide.split(WIDTH, -1)], ragged(9), device, pattern="dense", span=0)


def test_a_clip_without_any_real_token_stays_finite(device):
    mask = ragged(12)
    mask[1] = False
    q, k, v = (t.to(device).requires_grad_() for t in tensors(12, 12))
    for pattern in ("dense", "local"):
        y = patterns.attention(q, k, v, mask.to(device), pattern=pattern, span=4)
        assert all(t.isfinite().all() for t in (y, *torch.autograd.grad(y.sum(), [q, k, v])))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1, 2], ids="qkv")
@pytest.mark.parametrize("pattern", ["dense", pytest.param("local", marks=pytest.mark.slow)])
def test_what_is_not_finite_is_not_swallowed(pattern, which, value, device):
    qkv, mask = tensors(20, 20), ragged(20)
    qkv[which][0, 0, 3, 1] = value
    got = outcome(patterns.attention, qkv, mask, torch.float32, device, pattern=pattern, span=6)
    wanted = outcome(ops.definition.attention, qkv, mask, torch.float64, pattern=pattern, span=6)
    for mine, expected in zip(got, wanted, strict=True):
        assert not mine[~expected.isfinite()].isfinite().any()


def test_keys_whose_scores_are_all_minus_infinity_give_nan(device):
    q, k, v = tensors(6, 6)
    q.fill_(1), k.fill_(-float("inf"))
    mask = torch.ones(2, 6, dtype=torch.bool)
    got = patterns.attention(*(t.to(device) for t in (q, k, v)), mask.to(device), pattern="dense", span=0)
    assert got.isnan().all()
    assert ((q @ k.mT).softmax(-1) @ v).isnan().all()


def test_memory_grows_with_tokens_and_not_with_scores(device, monkeypatch):
    """What is kept for the backward pass: queries, keys, values, outputs, and a number per query and head."""
    kept = []

    def pack(t):
        kept.append(t.numel())
        return t

    for length in (33, 65):
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            q, k, v = (t.to(device).requires_grad_() for t in tensors(length, length))
            patterns.attention(q, k, v, ragged(length).to(device), pattern="strided", span=8)
    half = len(kept) // 2
    assert sum(kept[half:]) <= 2.1 * sum(kept[:half])


def test_more_heads_than_a_grid_holds_are_left_to_the_definition():
    q, k, v = (t[:1].expand(patterns.MAX_GRID // HEADS + 1, -1, -1, -1) for t in tensors(3, 3))
    mask = torch.ones(1, 3, dtype=torch.bool).expand(len(q), -1)
    assert not patterns.supports(q, k, v, mask, pattern="dense")
    assert patterns.supports(q[1:], k[1:], v[1:], mask[1:], pattern="dense")


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    ("length", "span"),
    [
        (4, 2),
        (23, 6),
        (40, 30),
        pytest.param(40, 40, marks=pytest.mark.slow),
        pytest.param(3000, 8, marks=pytest.mark.slow),
    ],
)
def test_far_keys_are_means_of_windows(length, span, weights, device):
    """Real tokens anywhere, none at all in one clip; with masks as mixup makes them, which are fractions."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(4, 1 + length, generator=generator) * (torch.rand(4, 1 + length, generator=generator) > 0.3)
    mask[1, 1:] = 0
    mask[2, 1 + span :] = 0
    mask[3] = 1
    mask = mask if weights else mask > 0
    share, weight = own.shares(mask.to(device), span, torch.float32)
    wanted, wanted_weight = windows.means(mask, span)
    assert share[:, 0].cpu().equal(torch.eye(1 + length)[:1].expand(4, -1))
    assert not share[:, 1:, 0].any()
    torch.testing.assert_close(share[:, 1:, 1:].cpu(), wanted)
    torch.testing.assert_close(weight[:, 1:].cpu(), wanted_weight)
    assert weight[:, 0].cpu().equal(mask[:, 0].float())
