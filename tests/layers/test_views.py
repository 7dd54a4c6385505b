"""Views of attention heads: who reads whom, what it costs, and how strategies share out heads."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import sparsefuse
from sparsefuse.cost import count
from sparsefuse.layers.views import (
    FixedViews,
    LearnedViews,
    ViewBlock,
    by_strategy,
    check_views,
    score_products,
    views_of,
)
from sparsefuse.tokens import State, Tokens

A, B, C = ("a", "b", "c")
DIM, HEADS = 12, 4


def test_the_views_are_self_and_one_per_pair():
    assert views_of([B, A, C]) == ("self", "a+b", "a+c", "b+c")
    assert views_of([A]) == ("self",)


LAYERS = {"self": 2, "a+b": 1, "b+c": 1}


def slow(block, x, masks):
    """One token, one head at a time: heads 0 and 1 read themselves, 2 is a+b, 3 is b+c."""
    reads = [{A: A, B: B, C: C}, {A: A, B: B, C: C}, {A: B, B: A}, {B: C, C: B}]
    normed = {m: F.layer_norm(t, (DIM,)) for m, t in x.items()}
    qkv = {m: block.attention.qkv(t).view(len(t), 3, HEADS, DIM // HEADS) for m, t in normed.items()}
    out = {}
    for m, t in x.items():
        rows = []
        for i in range(len(t)):
            parts = []
            for h, source in enumerate(reads):
                total = torch.zeros(DIM // HEADS)
                keys = [] if m not in source else [j for j in range(len(x[source[m]])) if masks[source[m]][j]]
                if keys:
                    q = qkv[m][i, 0, h]
                    k, v = (torch.stack([qkv[source[m]][j, part, h] for j in keys]) for part in (1, 2))
                    shares = torch.softmax(k @ q / (DIM // HEADS) ** 0.5, 0)
                    total = (shares[:, None] * v).sum(0)
                parts.append(total)
            rows.append(torch.cat(parts))
        y = t + block.attention.out(torch.stack(rows))
        out[m] = y + block.mlp(y)
    return out


def test_every_head_reads_what_its_view_says():
    torch.manual_seed(0)
    block = ViewBlock((A, B, C), FixedViews((A, B, C), LAYERS, HEADS), dim=DIM, num_heads=HEADS)
    lengths = {A: 3, B: 5, C: 2}
    x = {m: torch.randn(2, n, DIM) for m, n in lengths.items()}
    masks = {m: torch.ones(2, n, dtype=torch.bool) for m, n in lengths.items()}
    masks[B][1, 3:] = False
    masks[C][1] = False  # sample 1 lacks c: b gets nothing through the head b+c
    streams = {m: Tokens(x[m], masks[m]) for m in lengths}
    found = block(State(streams, torch.zeros(()))).streams
    for sample in range(2):
        expected = slow(block, {m: t[sample] for m, t in x.items()}, {m: t[sample] for m, t in masks.items()})
        for m in lengths:
            real = masks[m][sample]
            torch.testing.assert_close(found[m].x[sample][real], expected[m][real], rtol=1e-5, atol=1e-5)


def scores(method, lengths, num_heads, **options):
    """Products of queries with keys in one fusion layer, per head and channel, from the count of a whole model."""
    features = dict.fromkeys(lengths, 1)
    raw = {name: length - 1 for name, length in lengths.items()}  # CLS is the other one
    sizes = {"dim": 2 * num_heads, "num_heads": num_heads, "unimodal_depth": 0, "fusion_depth": 1}
    model = sparsefuse.build(method, features, 2, **sizes, **options)
    tokens, dim = sum(lengths.values()), 2 * num_heads
    if options.get("fusion", "") == "bottleneck":
        tokens += len(lengths) * options["num_bottlenecks"]
    linear = tokens * 6 * dim**2  # q, k, v, out and the MLP's two
    return (count.count(model, raw).layers - linear) / (2 * dim)


def test_learned_views_mix_the_fixed_ones():
    """A head that is sure of a view reads as one that has it; one that is not, reads the mean."""
    torch.manual_seed(0)
    learned = LearnedViews((A, B), 2, price=0.0)
    block = ViewBlock((A, B), learned, dim=DIM, num_heads=2)
    streams = {m: Tokens(torch.randn(1, n, DIM), torch.ones(1, n, dtype=torch.bool)) for m, n in ((A, 3), (B, 5))}
    state = State(streams, torch.zeros(()))

    def attended(views):
        block.views = views
        block.mlp = torch.nn.Identity()  # x + x: linear in what was read
        return {m: t.x for m, t in block(state).streams.items()}

    apart, across = (attended(FixedViews((A, B), {view: 2}, 2)) for view in ("self", "a+b"))
    with torch.no_grad():
        learned.preference.copy_(torch.tensor([[50.0, -50.0], [50.0, -50.0]]))
    for m, x in attended(learned).items():
        torch.testing.assert_close(x, apart[m], rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        learned.preference.zero_()
    for m, x in attended(learned).items():
        torch.testing.assert_close(x, (apart[m] + across[m]) / 2, rtol=1e-5, atol=1e-5)


def test_learned_views_pay_for_the_score_products_they_expect():
    """Lengths 3 and 5 in one sample, 3 and 1 in the other: a pair costs 30/34 and 6/10 of self."""
    learned = LearnedViews((A, B), 2, price=0.5)
    masks = {A: torch.ones(2, 3, dtype=torch.bool), B: torch.tensor([[True] * 5, [True] + [False] * 4])}
    streams = {m: Tokens(torch.randn(2, mask.shape[1], DIM), mask) for m, mask in masks.items()}
    block = ViewBlock((A, B), learned, dim=DIM, num_heads=2)
    pair = (30 / 34 + 6 / 10) / 2
    penalty = block(State(streams, torch.zeros(()))).penalty
    assert penalty.item() == pytest.approx(0.5 * (1 + pair) / 2)
    with torch.no_grad():
        learned.preference.copy_(torch.tensor([[-50.0, 50.0], [0.0, 0.0]]))
    penalty = block(State(streams, torch.zeros(()))).penalty
    assert penalty.item() == pytest.approx(0.5 * (pair + (1 + pair) / 2) / 2)


PAPER = {"audio": 400, "video": 1568}


def test_counted_scores_are_the_papers():
    assert scores("mbt", PAPER, 1, fusion="vanilla") == 3_873_024
    assert scores("mbt", PAPER, 1, fusion="bottleneck", num_bottlenecks=4) == 2_634_400
    assert scores("locomt", PAPER, 1, views={"self": 1}) == 2_618_624
    assert scores("locomt", PAPER, 1, views={"audio+video": 1}) == 1_254_400


@st.composite
def layers(draw):
    """Lengths of two to four modalities, and views of up to five heads."""
    names = [A, B, C, "d"][: draw(st.integers(2, 4))]
    lengths = {name: draw(st.integers(2, 60)) for name in names}
    heads = draw(st.lists(st.sampled_from(views_of(names)), min_size=1, max_size=5))
    return lengths, {view: heads.count(view) for view in dict.fromkeys(heads)}


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(layers(), st.integers(1, 24))
def test_no_views_cost_more_than_modalities_apart(layer, num_bottlenecks):
    lengths, views = layer
    heads = sum(views.values())
    own = scores("locomt", lengths, heads, views=views)
    assert own == sum(count * score_products(view, lengths) for view, count in views.items()) / heads
    apart = sum(length**2 for length in lengths.values())
    bottleneck = scores("mbt", lengths, heads, fusion="bottleneck", num_bottlenecks=num_bottlenecks)
    multi = scores("mbt", lengths, heads, fusion="vanilla")
    assert own <= apart < bottleneck
    assert apart < multi == sum(lengths.values()) ** 2
    assert bottleneck == sum((length + num_bottlenecks) ** 2 for length in lengths.values())
    # The paper's C_bottleneck < C_multi presupposes few bottleneck tokens, as the method's docstring says.
    pairs = sum(a * b for a, b in itertools.combinations(lengths.values(), 2))
    few = len(lengths) * num_bottlenecks**2 + 2 * num_bottlenecks * sum(lengths.values()) < 2 * pairs
    assert (bottleneck < multi) == few


@pytest.mark.parametrize(("num_bottlenecks", "cheaper"), [(4, True), (5, False)])
def test_bottlenecks_are_cheaper_than_all_to_all_below_two_fifths_of_the_tokens(num_bottlenecks, cheaper):
    """Two streams of ten: (sqrt(2) - 1) 10 = 4.1."""
    lengths = {A: 10, B: 10}
    bottleneck = scores("mbt", lengths, 1, fusion="bottleneck", num_bottlenecks=num_bottlenecks)
    assert (bottleneck < scores("mbt", lengths, 1, fusion="vanilla")) == cheaper


@pytest.mark.parametrize(
    ("strategy", "crossing"),
    [
        ("low_self_high_cross", [0, 0, 2, 4]),
        ("spread", [1, 1, 2, 2]),
        ("bottleneck", [0, 2, 4, 0]),
        ("alternating", [0, 2, 0, 4]),
    ],
)
def test_a_strategy_places_six_cross_heads_of_sixteen(strategy, crossing):
    found = by_strategy(strategy, 6 / 16, modalities=[A, B], num_heads=4, depth=4)
    assert [layer.get("a+b", 0) for layer in found] == crossing
    assert [layer.get("self", 0) for layer in found] == [4 - count for count in crossing]


def test_alternating_halves_are_whole_layers():
    found = by_strategy("alternating", 0.5, modalities=[A, B], num_heads=3, depth=4)
    assert found == [{"self": 3}, {"a+b": 3}, {"self": 3}, {"a+b": 3}]


def test_random_views_keep_the_total_and_follow_the_seed():
    def draw(seed):
        return by_strategy("random", 0.5, modalities=[A, B, C], num_heads=4, depth=5, seed=seed)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    for seed in range(5):
        assert sum(sum(layer.values()) - layer.get("self", 0) for layer in draw(seed)) == 10


def test_pairs_take_turns():
    found = by_strategy("spread", 1.0, modalities=[A, B, C], num_heads=4, depth=3)
    assert found == [{"a+b": 2, "a+c": 1, "b+c": 1}, {"a+b": 1, "a+c": 2, "b+c": 1}, {"a+b": 1, "a+c": 1, "b+c": 2}]


def test_one_modality_reads_itself_whatever_the_strategy():
    assert by_strategy("spread", 1.0, modalities=[A], num_heads=4, depth=2) == [{"self": 4}] * 2


def test_views_may_name_a_pair_in_any_order_and_names_may_hold_a_plus():
    assert check_views({"b+a": 1, "self": 3}, [A, B], 4) == {"self": 3, "a+b": 1}
    assert check_views({"a+x+b": 4}, ["a+x", B], 4) == {"a+x+b": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": {"self": 3, "a+b": 1}}, r"must sum to num_heads=5; got 4 \(self: 3, a\+b: 1\)"),
        ({"views": {"self": 3, "a+d": 2}}, r"unknown view 'a\+d'; did you mean 'a\+b'"),
        ({"views": {"self": 6, "a+b": -1}}, r"views\.a\+b of locomt is -1; expected a whole number, 0 or more"),
        ({"views": [{"self": 5}]}, "views must have one entry per fusion layer, 4; got 1"),
        ({"views": "spraed"}, "unknown views 'spraed'; did you mean 'spread'"),
        ({"view_price": -1.0}, "view_price of locomt is -1.0; expected a number, 0 or more"),
        ({"views": "learnd"}, "unknown views 'learnd'; did you mean 'learned'"),
        ({"views": {"self": 2.5, "a+b": 2.5}}, r"views\.self of locomt is 2\.5; expected a whole number, 0 or more"),
        ({"views": {"self": 5}, "cross": 1.5}, r"cross must be a share of the heads, in \[0, 1\]; got 1.5"),
    ],
)
def test_bad_views_are_errors_that_say_so(options, message):
    with pytest.raises(ValueError, match=message):
        sparsefuse.build("locomt", {A: 2, B: 3}, 2, **options)


def test_a_cross_view_needs_two_modalities():
    with pytest.raises(ValueError, match=r"view 'a\+b' needs two modalities; the only one is 'a': use 'self'"):
        sparsefuse.build("locomt", {A: 2}, 2, views={"a+b": 5})
