"""Sparse attention equals a dense softmax behind a mask that is built entry by entry from the definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sparsefuse.layers import ops
from sparsefuse.layers.block import Attention, CrossAttention
from sparsefuse.layers.ops import PATTERNS
from sparsefuse.layers.ops.torch.groups import EXPRESSIVITY
from sparsefuse.layers.ops.windows import MEANS
from sparsefuse.layers.options import span_for


def attend(pattern, q, k, v, mask, span=0):
    return ops.attention(q, k, v, mask, pattern=pattern, span=span)


def received_by(pattern, q, k, mask, span=0):
    return ops.received(q, k, mask, pattern=pattern, span=span)


def sees(pattern, i, j, span):
    """Whether position i attends to position j; position 0 is CLS, token t is position t + 1."""
    if pattern == "dense" or i == 0 or j == 0:
        return True
    i, j = i - 1, j - 1
    if pattern == "strided":
        return abs(i - j) < span or (i - j) % span == 0
    return i // span == j // span or j % span >= span - (EXPRESSIVITY + 1)


def reference(pattern, q, k, v, weight, span):
    """One head of one sample after another, one query after another -> x (B, H, N, D), received (B, N)."""
    batch, heads, length, dim = q.shape
    rows = []
    attention = torch.zeros(batch, heads, length, length, dtype=q.dtype)
    for b in range(batch):
        for h in range(heads):
            if pattern == "local":
                shares = local_reference(q[b, h], k[b, h], v[b, h], weight[b], span)
                rows.extend(row for row, _ in shares)
                attention[b, h] = torch.stack([share for _, share in shares])
                continue
            for i in range(length):
                keys = [j for j in range(length) if weight[b, j] > 0 and sees(pattern, i, j, span)]
                scores = torch.stack([q[b, h, i] @ k[b, h, j] / math.sqrt(dim) + weight[b, j].log() for j in keys])
                shares = scores.softmax(0)
                rows.append(sum(share * v[b, h, j] for share, j in zip(shares, keys, strict=True)))
                attention[b, h, i, keys] = shares
    received = torch.zeros(batch, length, dtype=q.dtype)
    for b in range(batch):
        asking = [i for i in range(1, length) if weight[b, i] > 0]
        for i in asking:
            received[b] += weight[b, i] * attention[b, :, i].mean(0)
        received[b] /= max(float(weight[b, 1:].sum()), 1.0)
    return torch.stack(rows).unflatten(0, (batch, heads, length)), received


def local_reference(q, k, v, weight, span):
    """One head of one sample: per query its value and what each token received, a mean by its tokens."""
    length, dim = q.shape
    real = [j for j in range(1, length) if weight[j] > 0]
    windows = [[j for n, j in enumerate(real) if n * MEANS // max(len(real), MEANS) == w] for w in range(MEANS)]
    found = []
    for i in range(length):
        block = (i - 1) // span
        low, high = 1 + block * span - span // 2, 1 + (block + 1) * span + span // 2
        alone = range(length) if i == 0 else [0, *range(max(low, 1), min(high, length))]
        keys = [torch.eye(length, dtype=q.dtype)[j] for j in alone if weight[j] > 0]  # a key is a mixture of tokens
        counts = [weight[j] for j in alone if weight[j] > 0]
        for window in windows if i and any(j > span for j in real) else []:
            if window:
                total = sum(weight[j] for j in window)
                keys.append(torch.tensor([weight[j] / total if j in window else 0 for j in range(length)]).to(q.dtype))
                counts.append(max(weight[j] for j in window))
        keys = torch.stack(keys)
        shares = (keys @ k @ q[i] / math.sqrt(dim) + torch.stack(counts).log()).softmax(0)
        found.append((shares @ keys @ v, shares @ keys))
    return found


def made(seed, lengths, padded, *, heads=2, dim=3, fractional=False, gap=0):
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (
        2 * torch.randn(len(lengths), heads, 1 + padded, dim, generator=generator, dtype=torch.float64)
        for _ in range(3)
    )
    weight = (torch.arange(padded) < torch.tensor(lengths)[:, None]).double()
    weight = torch.cat([weight.amax(1, keepdim=True), weight], 1)
    if gap:
        weight[:, 2 : 2 + gap] = 0
    if fractional:
        weight = weight * (0.05 + 0.95 * torch.rand(weight.shape, generator=generator, dtype=torch.float64))
    return q, k, v, weight


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    pattern=st.sampled_from(sorted(PATTERNS)),
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=2),
    extra=st.integers(0, 5),
    span=st.integers(1, 16),
    fractional=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_pattern_equals_its_definition(pattern, lengths, extra, span, fractional, seed):
    span += span % 2 if pattern == "local" else 0
    check_pattern(pattern, lengths, max(lengths) + extra, span, fractional, seed)


@pytest.mark.parametrize(
    ("pattern", "span"), [("strided", 11), ("strided", 12), ("fixed", 11), ("fixed", 12), ("local", 6), ("local", 12)]
)
def test_a_pattern_of_several_blocks_equals_its_definition(pattern, span):
    check_pattern(pattern, [38, 25], 39, span, fractional=True, seed=3)


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_tokens_hidden_within_a_clip_change_nothing_in_the_definition(pattern):
    check_pattern(pattern, [20, 14], 20, 8, fractional=False, seed=4, gap=13)


def check_pattern(pattern, lengths, padded, span, fractional, seed, gap=0):
    q, k, v, weight = made(seed, lengths, padded, fractional=fractional, gap=gap)
    mask = weight if fractional else weight.bool()
    leaves = [t.requires_grad_() for t in (q, k, v)]
    got, gets = attend(pattern, q, k, v, mask, span), received_by(pattern, q, k, mask, span)
    x, received = reference(pattern, q, k, v, weight, span)
    real = (weight > 0)[:, None, :, None]
    close = {"rtol": 1e-5, "atol": 1e-6}  # log-weights are taken in float32
    torch.testing.assert_close(got * real, x * real, **close)
    torch.testing.assert_close(gets * (weight > 0), received, **close)
    assert got.isfinite().all()
    generator = torch.Generator().manual_seed(seed)
    towards = torch.randn(x.shape, dtype=x.dtype, generator=generator) * real
    given = torch.randn(weight.shape, dtype=x.dtype, generator=generator) * (weight > 0)
    ours = torch.autograd.grad((got * towards).sum() + (gets * given).sum(), leaves)
    theirs = torch.autograd.grad((x * towards).sum() + (received * given).sum(), leaves)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, **close)


def test_a_mask_that_learns_gets_its_gradient():
    q, k, v, weight = made(7, [20], 20, fractional=True)
    grads = []
    for pattern, span in (("dense", 0), ("strided", 40)):  # in one block all tokens are near
        learnt = weight.clone().requires_grad_()
        attend(pattern, q, k, v, learnt, span).square().sum().backward()
        grads.append(learnt.grad)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_long_streams_trace_as_one_graph(pattern):
    torch._dynamo.reset()
    q, k, v, weight = made(8, [199], 199)
    compiled = torch.compile(attend, backend="eager", fullgraph=True)
    mask = weight.bool()
    torch.testing.assert_close(compiled(pattern, q, k, v, mask, 16), attend(pattern, q, k, v, mask, 16))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_attention_received_sums_to_one(pattern):
    q, k, _, weight = made(0, [30, 17], 33)
    received = received_by(pattern, q, k, weight.bool(), 6)
    torch.testing.assert_close(received.sum(1), torch.ones(2, dtype=torch.float64))
    assert not received[weight == 0].any()


def pattern_of(pattern, count, span):
    """(1 + N, 1 + N) bool: equal scores and one-hot values show who sees whom."""
    zero = torch.zeros(1, 1, count, 4, dtype=torch.float64)
    eye = torch.eye(count, dtype=torch.float64)[None, None]
    return attend(pattern, zero, zero, eye, torch.ones(1, count, dtype=torch.bool), span)[0, 0] > 0


@pytest.mark.parametrize("count", [39, 51, 101, 501])
def test_fixed_is_the_closed_form_of_the_released_layer(count):
    """l = 32, c = 8, over CLS and tokens: own block and the last c + 1 of every block; CLS is global besides."""
    span, expressivity = 32, 8
    expected = torch.zeros(count, count, dtype=torch.bool)
    for i in range(count):
        first = i - span if i % span == 0 and i > 0 else i // span * span
        expected[i, first : min(first + span, count - 1) + 1] = True
        for block in range(count // span + 1):
            low = block * span + span - expressivity
            expected[i, low : low + expressivity + 1] = True
    density = {39: 0.775, 51: 0.606, 101: 0.491, 501: 0.315}[count]
    assert abs(float(expected.double().mean()) - density) < 0.0006
    expected[0] = True
    expected[:, 0] = True
    assert torch.equal(pattern_of("fixed", count, span), expected)


def test_strided_by_hand():
    rows = ["111111", "111101", "111110", "111111", "101111", "110111"]  # CLS and five tokens, span 2
    expected = torch.tensor([[c == "1" for c in row] for row in rows])
    assert torch.equal(pattern_of("strided", 6, 2), expected)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation gives."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else (out,):
            if isinstance(t, torch.Tensor):
                self.numel = max(self.numel, t.numel())
        return out


def test_sparse_patterns_form_no_square_matrix():
    length = 512
    q, k, v, weight = made(0, [length - 1], length - 1, heads=1, dim=2)
    sizes = {}
    for name, span in {"dense": 0, "strided": 23, "fixed": 32, "local": 22}.items():
        with Largest() as largest, torch.enable_grad():
            q.requires_grad_()
            received = received_by(name, q, k, weight.bool(), span)
            (attend(name, q, k, v, weight.bool(), span).sum() + received.sum()).backward()
        sizes[name] = largest.numel
    assert sizes["dense"] >= (length - 1) * length  # the watch works
    assert sizes["strided"] < length**2 / 4
    assert sizes["fixed"] < length**2 / 2
    assert sizes["local"] < length**2 / 4


@pytest.mark.parametrize("larger", [1, 1000])
@pytest.mark.parametrize("pattern", ["strided", "fixed", "local"])
def test_no_scores_are_held_between_the_passes(pattern, larger):
    q, k, v, weight = made(0, [299], 299)
    leaves = [t.requires_grad_() for t in (q, k, v)]
    held = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.numel()) or t, lambda t: t):
        x = attend(pattern, larger * q, k, v, weight.bool(), 16)
    assert sum(held) < 2 * 300 * 48 * 2  # two heads of 300 queries, each of which sees 48 keys or more
    assert all(slope.isfinite().all() for slope in torch.autograd.grad(x.sum(), leaves))


@pytest.mark.parametrize(
    ("pattern", "power"), [pytest.param("dense", 2, marks=pytest.mark.slow), ("strided", 1.5), ("local", 1)]
)
def test_the_largest_tensor_grows_with_a_power_of_the_length(pattern, power):
    sizes = []
    for length in (1024, 4096):
        q, k, v, weight = made(0, [length], length, heads=1, dim=2)
        span = span_for("a", {"a": length}, pattern)
        with Largest() as largest:
            attend(pattern, q, k, v, weight.bool(), span)
            received_by(pattern, q, k, weight.bool(), span)
        sizes.append(largest.numel)
    assert sizes[1] / sizes[0] == pytest.approx(4**power, rel=0.1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_stream_that_is_not_there_stays_finite(pattern):
    q, k, v, _ = made(0, [5], 5)
    leaves = [t.requires_grad_() for t in (q, k, v)]
    mask = torch.zeros(1, 6, dtype=torch.bool)
    x, received = attend(pattern, q, k, v, mask, 2), received_by(pattern, q, k, mask, 2)
    (x.sum() + received.sum()).backward()
    assert x.isfinite().all()
    assert received.isfinite().all()
    assert all(t.grad.isfinite().all() for t in leaves)


def test_a_weight_of_one_half_counts_as_half_a_token():
    """Two keys of weight 1/2 with equal content = one key of weight 1."""
    q, k, v, _ = made(0, [3], 3)
    k[:, :, 3], v[:, :, 3] = k[:, :, 2], v[:, :, 2]
    halves = ops.attention(q, k, v, torch.tensor([[1.0, 1.0, 0.5, 0.5]]))
    whole = ops.attention(q, k, v, torch.tensor([[1.0, 1.0, 1.0, 0.0]]))
    torch.testing.assert_close(halves, whole, rtol=1e-6, atol=1e-6)


def test_attention_equals_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = Attention(20, 5), torch.nn.MultiheadAttention(20, 5, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias + 0.1,
            "out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias + 0.1,
        }
    )  # fmt: skip
    with torch.no_grad():
        ours.qkv.bias.add_(0.1)
        ours.out.bias.add_(0.1)
    x = torch.randn(2, 7, 20)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    torch.testing.assert_close(ours(x, mask).x, theirs(x, x, x, key_padding_mask=~mask)[0], rtol=1e-5, atol=1e-5)


def test_cross_attention_equals_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = CrossAttention(20, 5), torch.nn.MultiheadAttention(20, 5, batch_first=True)
    with torch.no_grad():
        for linear in (ours.q, ours.kv, ours.out):
            linear.bias.normal_()
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([ours.q.weight, ours.kv.weight]),
            "in_proj_bias": torch.cat([ours.q.bias, ours.kv.bias]),
            "out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias,
        }
    )  # fmt: skip
    x, source = torch.randn(2, 7, 20), torch.randn(2, 4, 20)
    read = torch.arange(4) < torch.tensor([[2], [4]])
    expected = theirs(x, source, source, key_padding_mask=~read)[0]
    torch.testing.assert_close(ours(x, source, read), expected, rtol=1e-5, atol=1e-5)


def test_attention_options_are_checked():
    with pytest.raises(ValueError, match="dim must be a multiple of num_heads; got dim=40, num_heads=3"):
        Attention(40, 3)
    with pytest.raises(ValueError, match="unknown attention pattern 'stridet'; did you mean 'strided'"):
        Attention(40, 5, pattern="stridet")
    q, k, v, weight = made(0, [9], 9)
    with pytest.raises(ValueError, match="the span of local attention must be even; got 3"):
        attend("local", q, k, v, weight, 3)
