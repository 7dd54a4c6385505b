"""NaN and infinity come out of C++ wherever the definition has them, forward and backward: nothing swallows them."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsefuse.layers.block import Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.fused import run_blocks
from sparsefuse.layers.ops import native
from sparsefuse.layers.ops.torch.groups import key_bias
from sparsefuse.layers.ops.windows import means
from sparsefuse.tokens import Tokens

pytestmark = pytest.mark.skipif(bool(native.unavailable()), reason=native.unavailable())

DIM, HEADS, LENGTH, SPAN = 12, 3, 20, 4
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])
PATTERNS = st.sampled_from(["dense", "local", "strided"])


def seen(query, length, pattern, span):
    """Rows that a query sees, of 1 + `length`, by the words of torch/patterns.py."""
    if pattern == "dense" or query == 0:
        return list(range(length + 1))
    i, tokens = query - 1, range(length)
    if pattern == "strided":
        return [0, *(1 + j for j in tokens if abs(i - j) < span or (i - j) % span == 0)]
    begin = i // span * span
    return [1 + j for j in tokens if begin - span // 2 <= j < begin + span + span // 2]


def attention(q, k, v, mask, pattern, span):
    """Plain softmax attention of q, k, v (B, H, N, C), query by query; `mask` (B, N)."""
    bias, length = key_bias(mask, q.dtype), q.shape[2] - 1
    far = None
    if pattern == "local":
        share, weights = means(mask, span)
        share = F.pad(share, (1, 0)).to(q.dtype)  # (B, M, N)
        far = (share[:, None] @ k, share[:, None] @ v, key_bias(weights, q.dtype))
    rows = []
    for i in range(length + 1):
        at = seen(i, length, pattern, span)
        keys, values, biases = k[:, :, at], v[:, :, at], bias[:, at]
        if far is not None and i:
            keys, values = torch.cat([k[:, :, :1], far[0], keys], 2), torch.cat([v[:, :, :1], far[1], values], 2)
            biases = torch.cat([bias[:, :1], far[2], biases], 1)
        scores = q[:, :, i : i + 1] @ keys.mT / q.shape[-1] ** 0.5 + biases[:, None, None]
        rows.append(scores.softmax(-1) @ values)
    return torch.cat(rows, 2)


def block(layer, x, mask):
    """A block by PyTorch's plainest operations."""
    attend, mlp = layer.attention, layer.mlp
    q, k, v = (
        t.unflatten(2, (HEADS, -1)).transpose(1, 2)
        for t in F.linear(F.layer_norm(x, [DIM]), attend.qkv.weight, attend.qkv.bias).chunk(3, 2)
    )
    read = attention(q, k, v, mask, attend.pattern, attend.span).transpose(1, 2).flatten(2)
    x = x + F.linear(read, attend.out.weight, attend.out.bias)
    hidden = F.linear(F.layer_norm(x, [DIM], mlp[0].weight, mlp[0].bias), mlp[1].weight, mlp[1].bias).relu()
    return x + F.linear(hidden, mlp[4].weight, mlp[4].bias)


def made(pattern):
    torch.manual_seed(0)
    layer = Block(DIM, HEADS, pattern=pattern, span=SPAN)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return layer


def clips(padding=5):
    x = torch.randn(2, 1 + LENGTH, DIM, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 1 + LENGTH, dtype=torch.bool)
    mask[1, 1 + LENGTH - padding :] = False
    return x, mask


def broken(tensor, value, place, how_many):
    """A copy with `value` in one place, or a few, or all."""
    tensor = tensor.detach().clone()
    flat = tensor.view(-1)
    first = int(place * (len(flat) - 1))
    flat[first : len(flat) if how_many is None else first + how_many] = value
    return tensor


def outcome(run, layer, x, mask, grad):
    x = x.clone().requires_grad_()
    y = run(layer, x, mask)
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], grad)]


def check(mine, wanted, *, exactly):
    """Not finite where `wanted` is not; and nowhere else, if `exactly`.

    In sparse patterns a vector of queries reads all keys that any of them sees, the others with a weight of 0: NaN may
    come to a few neighbours too, as it does in PyTorch's windows.
    """
    alike = mine[0].isfinite().equal(wanted[0].isfinite())
    for got, right in zip(mine, wanted, strict=True):
        assert not (got.isfinite() & ~right.isfinite()).any(), "a finite value where the definition has none"
        if exactly:
            assert got.isfinite().equal(right.isfinite())
        if not alike:
            continue
        both = got.isfinite() & right.isfinite()
        torch.testing.assert_close(got[both].double(), right[both], rtol=1e-3, atol=1e-3)


def run(layer, x, mask):
    """As a model does."""
    return run_blocks([layer], Tokens(x, mask)).x


def in_cpp(layer, x, mask):
    y = run(layer, x, mask)
    assert type(y.grad_fn).__name__ == "_BlocksBackward"
    return y


@pytest.mark.slow
@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    pattern=PATTERNS,
    value=NOT_FINITE,
    where=st.sampled_from(["x", "grad", *dict(Block(DIM, HEADS).named_parameters())]),
    place=st.floats(0, 1),
    how_many=st.sampled_from([1, DIM, None]),
)
def test_a_block_gives_what_the_definition_gives(pattern, value, where, place, how_many):
    layer, (x, mask) = made(pattern), clips()
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    if where == "x":
        x = broken(x, value, place, how_many)
    elif where == "grad":
        grad = broken(grad, value, place, how_many)
    else:
        layer.get_parameter(where).data = broken(layer.get_parameter(where), value, place, how_many)
    exact = copy.deepcopy(layer).double()
    wanted = outcome(block, exact, x.double(), mask, grad.double())
    check(outcome(in_cpp, layer, x, mask, grad), wanted, exactly=pattern == "dense")


@pytest.mark.slow
@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    value=NOT_FINITE,
    width=st.sampled_from([3, 4, 8, 16]),
    which=st.sampled_from("qkvg"),
    place=st.floats(0, 1),
    how_many=st.sampled_from([1, 16, None]),
    padding=st.sampled_from([0, 5]),
)
def test_attention_gives_what_the_definition_gives(value, width, which, place, how_many, padding):
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(2, 2, 1 + LENGTH, width, generator=generator) for name in "qkvg"}
    tensors[which] = broken(tensors[which], value, place, how_many)
    mask = clips(padding)[1]

    def outcome(attend, dtype):
        q, k, v = (tensors[name].to(dtype).requires_grad_() for name in "qkv")
        y = attend(q, k, v)
        return [y.detach(), *torch.autograd.grad(y, [q, k, v], tensors["g"].to(dtype))]

    mine = outcome(lambda q, k, v: native.attention(q, k, v, mask, pattern="dense", span=0), torch.float32)
    wanted = outcome(lambda q, k, v: attention(q, k, v, mask, "dense", SPAN), torch.float64)
    check(mine, wanted, exactly=True)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    value=NOT_FINITE,
    where=st.sampled_from(["x", "grad", "project.0.weight", "project.0.bias", "cls.0", "position.0"]),
    place=st.floats(0, 1),
    how_many=st.sampled_from([1, 8, None]),
)
def test_the_embedding_gives_what_the_definition_gives(value, where, place, how_many):
    torch.manual_seed(0)
    layer = Embed({"one": 7}, DIM, {"one": LENGTH + 3})
    x, grad = torch.randn(2, LENGTH, 7), torch.randn(2, 1 + LENGTH, DIM)
    if where == "x":
        x = broken(x, value, place, how_many)
    elif where == "grad":
        grad = broken(grad, value, place, how_many)
    else:
        layer.get_parameter(where).data = broken(layer.get_parameter(where), value, place, how_many)

    def in_cpp(layer):
        y = layer({"one": Tokens(x, torch.ones(2, LENGTH, dtype=torch.bool))}).streams["one"].x
        assert type(y.grad_fn).__name__ == "_EmbeddedBackward"
        return y

    def defined(layer):
        y = F.linear(x.double(), layer.project[0].weight, layer.project[0].bias)
        y = torch.cat([layer.cls[0].expand(2, 1, -1), y], 1)
        return y + layer.position[0][: 1 + LENGTH]

    def outcome(run, layer, grad):
        y = run(layer)
        return [y.detach(), *torch.autograd.grad(y, list(layer.parameters()), grad)]

    wanted = outcome(defined, copy.deepcopy(layer).double(), grad.double())
    check(outcome(in_cpp, layer, grad), wanted, exactly=True)


@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_clip_does_not_break_another(pattern, value):
    layer, (x, mask) = made(pattern), clips(0)
    alone = run(layer, x[1:], mask[1:])
    both = run(layer, torch.cat([torch.full_like(x[:1], value), x[1:]]), mask)
    assert not both[0].isfinite().any()
    assert both[1:].equal(alone)


def test_weights_that_are_no_numbers_give_no_scores():
    """A model whose attention has broken must not look as if it were good."""
    layer, (x, mask) = made("dense"), clips()
    with torch.no_grad():
        layer.attention.qkv.weight[: 2 * DIM] = math.nan
        assert run(layer, x, mask).isnan().all()


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00000, 0x7FC00001, 0xFFFFFFFF, 0x7F800001])
def test_every_nan_is_one_whatever_its_bits(bits):
    q = torch.randn(1, 1, 5, 4)
    k, v = q.clone(), q.clone()
    k.view(torch.int32)[0, 0, 2, 1] = bits - (1 << 32 if bits >= 1 << 31 else 0)
    assert k.isnan().sum() == 1
    assert native.attention(q, k, v, torch.ones(1, 5, dtype=torch.bool), pattern="dense", span=0).isnan().all()


@pytest.mark.parametrize("pattern", ["dense", "local", "strided"])
def test_scores_that_are_all_minus_infinity_are_nan_and_masked_ones_are_not(pattern):
    layer, (x, mask) = made(pattern), clips()
    with torch.no_grad():
        layer.attention.qkv.bias[DIM : 2 * DIM] = -math.inf
        layer.attention.qkv.bias[:DIM] = 1e4  # all queries are positive
        assert run(layer, x, mask).isnan().all()
    assert run(made(pattern), x, torch.zeros_like(mask)).isfinite().all()
