"""Attention rollout is the product of averaged attention matrices, for every method and on ragged clips."""

import math

import pytest
import torch
from torch import nn

from contract.contract_cases import BASE, CASES, FEATURES, case_id, clips, model_of, ragged, rows
from sparsefuse.explain.rollout import MEAN_OF_MAX, rollout
from sparsefuse.layers import ops
from sparsefuse.layers.block import Attention, Block
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.exchange import Score
from sparsefuse.layers.head import Head
from sparsefuse.layers.heads import heads
from sparsefuse.layers.streams import PerStream
from sparsefuse.methods import build, find
from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens

CLOSE = {"rtol": 1e-6, "atol": 1e-7}  # means of `local` attention are float32


VARIANTS = [pytest.param(case, marks=pytest.mark.slow) for case in CASES[len(BASE) :]]


@pytest.fixture(params=[*BASE, *VARIANTS], ids=case_id)
def case(request):
    return request.param


@pytest.fixture(params=BASE, ids=case_id)
def base(request):
    return request.param


@torch.no_grad()
def attention_of(attention, x, sees=None):
    """(N, N) weights over the keys each query sees; see `weights_of`."""
    q, k, _ = attention.qkv(x).chunk(3, 1)
    return weights_of(q, k, attention.num_heads, sees)


def weights_of(q, k, heads, sees=None):
    """(N, N') softmax over the keys each query sees, mean over heads, one score at a time."""
    width = q.shape[1] // heads
    total = torch.zeros(len(q), len(k), dtype=q.dtype)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            seen = [j for j in range(len(k)) if sees is None or sees(i, j)]
            scores = [math.exp(float(q[i, part] @ k[j, part]) / math.sqrt(width)) for j in seen]
            for j, score in zip(seen, scores, strict=True):
                total[i, j] += score / sum(scores) / heads
    return total


@torch.no_grad()
def product(blocks, x, sees=None):
    """(N, N) rollout of blocks: each (identity + attention) / 2, later ones from the left."""
    matrix = torch.eye(len(x), dtype=x.dtype)
    for block in blocks:
        weights = attention_of(block.attention, block.norm(x), sees)
        matrix = (torch.eye(len(x), dtype=x.dtype) + weights) / 2 @ matrix
        mask = torch.ones(1, len(x), dtype=torch.bool)
        x = block(Tokens(x[None], mask)).x[0]
    return matrix


def test_a_dense_model_gives_the_product_of_its_attention_matrices():
    model = model_of(("concat", {"fusion_depth": 2, "dim": 20, "num_heads": 5})).double()
    batch = {name: t._replace(x=t.x.double()) for name, t in clips({"rgb": [4], "sound": [5], "flow": [3]}).items()}
    found = rollout(model, batch)
    joined = model.layers[0](model.embed(batch)).streams["fused"].x[0]
    cls = product([layer.blocks[0] for layer in model.layers[1:]], joined)[0]
    expected = {"flow": cls[1:4], "rgb": cls[4:8], "sound": cls[8:]}
    for name, share in expected.items():
        torch.testing.assert_close(found.tokens[name][0], share.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.learned[0], cls[0].detach(), rtol=1e-9, atol=1e-12)


def test_a_bottleneck_passed_from_one_modality_to_the_next_carries_the_first_to_the_second():
    """Two blocks in one layer, each half what passes by: were it another share, the second would weigh it wrong."""
    features = {"a": 4, "b": 3}
    torch.manual_seed(0)
    options = {"unimodal_depth": 0, "fusion_depth": 1, "num_bottlenecks": 2, "update": "sequential", "dim": 20}
    model = build("mbt", features, 3, num_heads=5, **options).double().eval()
    batch = {n: t._replace(x=t.x.double()) for n, t in clips({"a": [4], "b": [3]}, features=features).items()}
    streams = model.layers[0](model.embed(batch)).streams
    a, b, bottleneck = (streams[name].x[0].detach() for name in ("a", "b", "bottleneck"))
    first, second = model.layers[1].each.blocks
    both = torch.cat([a, bottleneck])
    by_first = product([first], both)
    passed = first(Tokens(both[None], torch.ones(1, 7, dtype=torch.bool))).x[0, 5:].detach()
    by_second = product([second], torch.cat([b, passed]))
    through = by_second[0, 4:] @ by_first[5:]  # b's CLS to the bottleneck, and from there to a
    found = rollout(model, batch)
    torch.testing.assert_close(found.tokens["a"][0], (by_first[0] + through)[1:5] / 2)
    torch.testing.assert_close(found.tokens["b"][0], by_second[0, 1:4] / 2)


def strided(span):
    return lambda i, j: 0 in (i, j) or abs(i - j) < span or (i - j) % span == 0


def fixed(span):
    def sees(i, j):
        if 0 in (i, j):
            return True
        (own, _), (other, place) = divmod(i - 1, span), divmod(j - 1, span)
        return own == other or place >= span - 9

    return sees


def causal(i, j):
    return i == 0 or 0 < j <= i


def test_mult_without_a_look_ahead_gives_the_product_of_its_matrices():
    torch.manual_seed(0)
    options = {"cross_depth": 1, "fusion_depth": 1, "dim": 20, "num_heads": 5, "causal": True}
    model = build("mult", {"a": 4, "b": 3}, 3, **options).double().eval()
    batch = clips({"a": [6], "b": [4]}, features={"a": 4, "b": 3})  # each may look ahead by 2
    batch = {name: t._replace(x=t.x.double()) for name, t in batch.items()}
    states = []
    with torch.no_grad():
        model(batch, probe=lambda _, state: states.append(state.streams))
    expected = {"a": 0.0, "b": 0.0}
    for i, (target, source) in enumerate((("a", "b"), ("b", "a"))):
        cross, fusion = model.layers[1].blocks[i], model.layers[3].blocks[i]
        x, read, joined = states[0][target].x[0], states[0][source].x[0], states[3][target].x[0]
        q, (k, _) = cross.attention.q(cross.norm(x)), cross.attention.kv(cross.norm(read)).chunk(2, 1)
        across = weights_of(q.detach(), k.detach(), 5, lambda i, j: i == 0 or j <= i + 2)
        cls = product([fusion], joined, causal)[0]
        expected[target] += cls[1:] / 4  # half of a block, and half of both CLS
        expected[source] += (cls @ across)[1:] / 4
    found = rollout(model, batch).tokens
    for name in expected:
        torch.testing.assert_close(found[name][0], expected[name])


@pytest.mark.parametrize(("pattern", "span", "sees"), [("strided", 3, strided(3)), ("fixed", 12, fixed(12))])
def test_a_sparse_pattern_gives_the_product_of_its_matrices(pattern, span, sees):
    torch.manual_seed(0)
    blocks = [Block(20, 5, pattern=pattern, span=span) for _ in range(2)]
    layers = [PerStream(("a",), lambda _, block=block: block) for block in blocks]
    model = FusionModel(Embed({"a": 4}, 20), layers, Head(20, 3, ("a",)), features={"a": 4}).double().eval()
    batch = {name: t._replace(x=t.x.double()) for name, t in clips({"a": [28]}, features={"a": 4}).items()}
    cls = product(blocks, model.embed(batch).streams["a"].x[0], sees)[0]
    torch.testing.assert_close(rollout(model, batch).tokens["a"][0], cls[1:].detach(), rtol=1e-7, atol=1e-9)


def test_local_attention_hands_a_mean_on_to_its_window():
    """28 tokens in blocks of 4: a query sees 8 tokens near it and 15 means; the means' weights go to their tokens."""
    torch.manual_seed(0)
    block = Block(20, 5, pattern="local", span=4).double().eval()
    model = FusionModel(
        Embed({"a": 4}, 20), [PerStream(("a",), lambda _: block)], Head(20, 3, ("a",)), features={"a": 4}
    )
    model = model.double().eval()
    # CLS reads tokens alone; a second look from token 1 needs the whole matrix.
    batch = {name: t._replace(x=t.x.double()) for name, t in clips({"a": [28]}, features={"a": 4}).items()}
    x = block.norm(model.embed(batch).streams["a"].x[0])
    q, k, _ = block.attention.qkv(x).split(20, 1)
    window = [n * 15 // 28 for n in range(28)]
    members = [[n for n in range(28) if window[n] == w] for w in range(15)]
    q, k = q.detach(), k.detach()
    matrix = torch.zeros(29, 29, dtype=torch.float64)
    for head in range(5):
        part = slice(4 * head, 4 * head + 4)
        for i in range(29):
            if i == 0:
                keys = [[j] for j in range(29)]
            else:
                start = (i - 1) // 4 * 4
                near = [j for j in range(start - 2, start + 6) if 0 <= j < 28]
                keys = [[0], *([1 + n for n in m] for m in members), *([1 + j] for j in near)]
            scores = [math.exp(float(q[i, part] @ k[key][:, part].mean(0)) / 2) for key in keys]
            for key, score in zip(keys, scores, strict=True):
                for j in key:
                    matrix[i, j] += score / sum(scores) / len(key) / 5
    two = FusionModel(model.embed, [*model.layers, _TokenToCls()], Head(20, 3, ("a",)), features={"a": 4}).double()
    expected = (torch.eye(29, dtype=torch.float64) + matrix)[7] / 2
    torch.testing.assert_close(rollout(two, batch).tokens["a"][0], expected[1:], rtol=1e-5, atol=1e-8)


class _TokenToCls(nn.Module):
    """Puts token 7 in the place of CLS, so that its row of the rollout is read."""

    def forward(self, state):
        streams = {n: t._replace(x=torch.cat([t.x[:, 7:8], t.x[:, 1:]], 1)) for n, t in state.streams.items()}
        return state._replace(streams=streams)


def real_tokens(model):
    """Which tokens the model has of the ragged clips, CLS apart: patches, of modalities that are cut into them."""
    return {name: stream.mask[:, 1:] for name, stream in model.embed(ragged()).streams.items() if "<-" not in name}


def test_every_method_gives_shares_that_sum_to_one_on_ragged_clips(case):
    model = model_of(case)
    found = rollout(model, ragged())
    total = torch.cat(list(found.tokens.values()), 1).sum(1) + found.learned
    torch.testing.assert_close(total, torch.ones_like(total), **CLOSE)
    for name, share in found.tokens.items():
        assert share.min() >= -1e-7
        assert share.shape == real_tokens(model)[name].shape
    assert (found.learned > 0).all()
    read = torch.cat([ragged()[name].mask for name in found.tokens], 1).any(1)
    assert (found.learned[read] < 1).all()


def test_every_depth_sums_to_one(base):
    model = model_of(base)
    found = rollout(model, ragged())
    assert len(found.depths) == len(model.layers) + 1
    read = torch.cat([ragged()[name].mask for name in found.tokens], 1).any(1)
    for depth in found.depths:
        total = torch.cat(list(depth.values()), 1).sum(1)[read]
        assert (total <= 1 + 1e-6).all()
        if "bottleneck" in depth or "bottleneck" not in found.depths[-1]:  # before, its share is not there yet
            assert (total >= 1 - 1e-6).all()


def test_padding_gets_nothing_and_every_real_token_something_unless_it_was_exchanged(case):
    model, batch = model_of(case), ragged()
    found = rollout(model, batch)
    states = []
    model(batch, probe=lambda _, state: states.append(state))
    real = real_tokens(model)
    gone = {name: torch.zeros_like(real[name]) for name in found.tokens}
    for layer, state in zip(model.layers, states, strict=False):
        if hasattr(layer, "exchanged"):
            gone = {name: gone[name] | swapped[:, 1:] for name, swapped in layer.exchanged(state).items()}
    for name, share in found.tokens.items():
        assert share[~real[name]].abs().max() < 1e-12
        assert (share[real[name] & ~gone[name]] > 0).all()


def test_more_padding_changes_nothing(base):
    model = model_of(base)
    one, two = rollout(model, ragged()), rollout(model, ragged(extra=5))
    for name, share in one.tokens.items():
        torch.testing.assert_close(two.tokens[name][:, : share.shape[1]], share, **CLOSE)


def test_a_sample_alone_gives_what_it_gives_in_a_batch(base):
    model = model_of(base)
    whole, alone = rollout(model, ragged()), rollout(model, rows(ragged(), slice(0, 1)))
    for name, share in alone.tokens.items():
        torch.testing.assert_close(whole.tokens[name][:1], share, **CLOSE)


def test_the_model_is_left_as_it_is(case):
    model = model_of(case).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pools = [getattr(module, "pool", None) for module in model.modules()]
    rollout(model, ragged())
    assert all(module.training for module in model.modules())
    assert [getattr(module, "pool", None) for module in model.modules()] == pools
    assert all(not module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_late_fusion_keeps_modalities_apart():
    """What a modality's own CLS reads is a third of what three modalities' heads read; the others change nothing."""
    model = model_of(("late", {"unimodal_depth": 2, "dim": 20, "num_heads": 5}))
    batch = clips({"rgb": [4], "sound": [5], "flow": [3]})
    found = rollout(model, batch)
    for name in FEATURES:
        alone = rollout(model, {name: batch[name]})
        torch.testing.assert_close(found.tokens[name] * 3, alone.tokens[name], **CLOSE)
        assert 0 < float(found.tokens[name].sum()) < 1 / 3


def test_modalities_cross_where_a_method_fuses(case):
    """The relevance of a modality depends on what another holds, unless the method is late or unimodal."""
    model = model_of(case)
    counts = {"rgb": [9], "sound": [40], "flow": [7]}
    one, two = clips(counts, seed=1), clips(counts, seed=2)
    for name in FEATURES:
        others = {**two, name: one[name]}
        change = (rollout(model, one).tokens.get(name, torch.zeros(1)) - rollout(model, others).tokens.get(
            name, torch.zeros(1))).abs().max()  # fmt: skip
        assert (change < 1e-9) == (case[0] in ("late", "unimodal"))


def test_max_pooling_is_traced_as_a_mean_and_says_so():
    for pool, notes in (("max", (MEAN_OF_MAX,)), ("avg", ())):
        model = model_of(("sft", {**find("sft").TEST, "pool": pool}))
        assert rollout(model, ragged()).notes == notes


def test_pooling_by_attention_uses_what_tokens_received():
    """With one layer of pooling to one token and one block, tokens share by what they received."""
    features = {"a": 4}
    torch.manual_seed(0)
    model = build("sft", features, 3, dim=20, num_heads=5, unimodal_depth=0, fusion_depth=1, keep=1, pool="attn",
                  sparse="dense").eval()  # fmt: skip
    batch = clips({"a": [6]}, features=features)
    sparse = model.layers[0].blocks[0]
    x, mask = model.embed(batch).streams["a"]
    received = sparse.attention(sparse.norm(x), mask, want_received=True).received[0, 1:].double()
    weights = attention_of(sparse.attention.double(), sparse.norm(x[0].double()))
    sparse.float()
    by_received = received / received.sum() @ (torch.eye(7).double() + weights)[1:] / 2
    from_cls = (torch.eye(7).double() + weights)[0] / 2
    found = rollout(model, batch)
    kept = found.depths[1]["a"][0]
    expected = kept[0] * from_cls + kept[1] * by_received
    torch.testing.assert_close(found.tokens["a"][0], expected[1:].detach(), rtol=1e-5, atol=1e-8)


class _Adds(nn.Module):
    """Adds positions to a stream, and learned tokens at its end."""

    def __init__(self):
        super().__init__()
        self.position, self.tokens = nn.Parameter(torch.randn(7, 20)), nn.Parameter(torch.randn(1, 2, 20))

    def forward(self, state):
        x, mask = state.streams["a"]
        x = torch.cat([x + self.position, self.tokens], 1)
        return state._replace(streams={"a": Tokens(x, torch.nn.functional.pad(mask, (0, 2), value=True))})


def test_positions_that_a_layer_adds_take_no_part_and_tokens_that_it_adds_count_as_learned():
    torch.manual_seed(0)
    block = Block(20, 5)
    model = FusionModel(
        Embed({"a": 4}, 20), [_Adds(), PerStream(("a",), lambda _: block)], Head(20, 3, ("a",)), features={"a": 4}
    ).double()
    batch = {name: t._replace(x=t.x.double()) for name, t in clips({"a": [6]}, features={"a": 4}).items()}
    found = rollout(model, batch)
    expected = product([block], model.layers[0](model.embed(batch)).streams["a"].x[0])[0]
    torch.testing.assert_close(found.tokens["a"][0], expected[1:7])
    torch.testing.assert_close(found.learned[0], expected[[0, 7, 8]].sum())


class _Keeps(Embed):
    """Lays positions aside in a stream of their own, as for TokenFusion."""

    def forward(self, tokens):
        state = super().forward(tokens)
        return state._replace(streams={**state.streams, "a<-position": state.streams["a"]})


class _AddsKept(nn.Module):
    def forward(self, state):
        a, position = state.streams["a"], state.streams["a<-position"]
        return state._replace(streams={**state.streams, "a": a._replace(x=a.x + position.x)})


def test_positions_laid_aside_take_no_part():
    torch.manual_seed(0)
    block = Block(20, 5)
    layers = [_AddsKept(), PerStream(("a",), lambda _: block)]
    model = FusionModel(_Keeps({"a": 4}, 20), layers, Head(20, 3, ("a",)), features={"a": 4}).double().eval()
    batch = {name: t._replace(x=t.x.double()) for name, t in clips({"a": [6]}, features={"a": 4}).items()}
    found = rollout(model, batch)
    expected = product([block], 2 * model.embed(batch).streams["a"].x[0].detach())[0]
    torch.testing.assert_close(found.tokens["a"][0], expected[1:])
    assert [set(streams) for streams in found.depths] == [{"a"}] * 3


class _Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.score, self.attention = Score(20), Attention(20, 5)

    def forward(self, state):
        x, mask = state.streams["a"]
        score = self.score(x)[..., None]
        return state._replace(streams={"a": Tokens(x + self.attention(x * score, mask).x, mask)})


def test_scores_weigh_values_by_what_they_were_in_the_true_pass():
    torch.manual_seed(0)
    layer = _Gated().double()
    model = FusionModel(Embed({"a": 4}, 20), [layer], Head(20, 3, ("a",)), features={"a": 4}).double().eval()
    batch = {name: t._replace(x=t.x.double()) for name, t in clips({"a": [6]}, features={"a": 4}).items()}
    x = model.embed(batch).streams["a"].x[0].detach()
    score = layer.score(x).detach()[:, None]
    row = attention_of(layer.attention, x * score)[0] * score[:, 0]
    row[0] += 1
    torch.testing.assert_close(rollout(model, batch).tokens["a"][0], (row / row.sum())[1:])


class _Views(nn.Module):
    """As LoCoMT: one `qkv` over all streams at once, heads with keys of their own, called by the layer itself."""

    def __init__(self):
        super().__init__()
        self.attention = Attention(20, 2)

    def forward(self, state):
        a, b = state.streams["a"], state.streams["b"]
        x, mask, size = torch.cat([a.x, b.x], 1), torch.cat([a.mask, b.mask], 1), a.x.shape[1]
        q, k, v = heads(self.attention.qkv(x), 3, 2)
        parts = (slice(size), slice(size, None))
        own = [ops.attention(q[:, :1, s], k[:, :1, s], v[:, :1, s], mask[:, s]) for s in parts]
        cross = ops.attention(q[:, 1:, :size], k[:, 1:, size:], v[:, 1:, size:], b.mask)
        back = ops.attention(q[:, 1:, size:], k[:, 1:, :size], v[:, 1:, :size], a.mask)
        y = torch.cat([torch.cat(own, 2), torch.cat([cross, back], 2)], 1)
        x = x + self.attention.out(y.transpose(1, 2).flatten(2))
        return state._replace(streams={"a": Tokens(x[:, :size], a.mask), "b": Tokens(x[:, size:], b.mask)})


def test_heads_that_see_other_keys_are_traced_where_a_layer_attends_by_itself():
    torch.manual_seed(0)
    layer, features = _Views().double(), {"a": 4, "b": 3}
    model = FusionModel(Embed(features, 20), [layer], Head(20, 3, ("a",)), features=features).double().eval()
    batch = {n: t._replace(x=t.x.double()) for n, t in clips({"a": [4], "b": [3]}, features=features).items()}
    found = rollout(model, batch)
    streams = model.embed(batch).streams
    q, k, _ = layer.attention.qkv(torch.cat([streams["a"].x, streams["b"].x], 1)[0].detach()).split(20, 1)
    own = (q[0, :10] @ k[:5, :10].T / 10**0.5).softmax(0) / 4  # half of the block, one head of two
    other = (q[0, 10:] @ k[5:, 10:].T / 10**0.5).softmax(0) / 4
    torch.testing.assert_close(found.tokens["a"][0], own[1:].detach())
    torch.testing.assert_close(found.tokens["b"][0], other[1:].detach())
    torch.testing.assert_close(found.learned[0], (0.5 + own[0] + other[0]).detach())


class _Foreign(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, state):
        x, mask = state.streams["a"]
        return state._replace(streams={"a": Tokens(self.inner(x), mask)})


class _OwnAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(20, 20))

    def forward(self, x):
        return x + (x @ self.weight @ x.transpose(1, 2)).softmax(-1) @ x


@pytest.mark.parametrize(
    ("inner", "named"),
    [
        (nn.TransformerEncoderLayer(20, 5, batch_first=True), r"layers\.0\.inner\.self_attn \(MultiheadAttention\)"),
        (nn.Sequential(nn.Linear(20, 20), nn.ReLU()), r"layers\.0\.inner\.0 \(Linear\)"),
        (_OwnAttention(), r"layers\.0 \(_Foreign\): its stream 'a' weighs tokens by their own values"),
    ],
)
def test_attention_that_is_not_traced_is_an_error_naming_the_module(inner, named):
    model = FusionModel(Embed({"a": 4}, 20), [_Foreign(inner)], Head(20, 3, ("a",)), features={"a": 4})
    with pytest.raises(ValueError, match=named + r"[\s\S]*block\.Attention"):
        rollout(model, clips({"a": [6]}, features={"a": 4}))
