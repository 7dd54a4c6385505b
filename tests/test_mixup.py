"""Multimodal manifold mixup (SFT section 3.4, eqs. 7-11), by hand."""

from math import sqrt

import pytest
import torch

from sparsefuse import build, mixup
from sparsefuse.layers.streams import sum_present
from sparsefuse.tokens import State, Tokens

MODEL = {"features": {"a": 3, "b": 2}, "num_classes": 2, "dim": 10, "fusion_depth": 2}
PLAN = mixup.Plan(("a", "b"), (("a", "b"), ("a", "b"), ("a", "b"), ("fused",), ("fused",)))


def batch(size, missing=()):
    """All clips have two tokens; `missing` holds pairs (modality, sample)."""
    tokens = {}
    for name, width in MODEL["features"].items():
        mask = torch.ones(size, 2, dtype=torch.bool)
        for other, sample in missing:
            if other == name:
                mask[sample] = False
        tokens[name] = Tokens(torch.zeros(size, 2, width), mask)
    return tokens


def drawn(seed, size=6, *, alpha=0.3, plan=PLAN, missing=()):
    return mixup.draw(batch(size, missing), plan, alpha=alpha, generator=torch.Generator().manual_seed(seed))


def test_two_real_tokens_are_blended_by_lambda():
    x = torch.tensor([[[1.0, 10.0]], [[3.0, 20.0]]])
    state = State({"a": Tokens(x, torch.ones(2, 1, dtype=torch.bool))}, torch.zeros(()))
    lam = torch.tensor([0.25, 0.5])
    mixed = mixup.mix_state(state, mixup.Mix(1, torch.tensor([1, 0]), {"a": lam}, lam)).streams["a"]
    assert mixed.x.tolist() == [[[0.25 * 1 + 0.75 * 3, 0.25 * 10 + 0.75 * 20]], [[2.0, 15.0]]]  # eq. 9
    assert mixed.mask.tolist() == [[1.0], [1.0]]


def test_a_token_only_one_of_two_has_stays_itself_and_counts_by_its_share():
    x = torch.tensor([[[1.0], [7.0]], [[3.0], [99.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    lam = torch.tensor([0.25, 0.5])
    state = State({"a": Tokens(x, mask)}, torch.zeros(()))
    mixed = mixup.mix_state(state, mixup.Mix(1, torch.tensor([1, 0]), {"a": lam}, lam)).streams["a"]
    assert mixed.x[:, 1, 0].tolist() == [7.0, 7.0]
    assert mixed.mask.tolist() == [[1.0, 0.25], [1.0, 0.5]]


def test_each_stream_is_blended_by_its_own_lambda():
    streams = {name: Tokens(torch.tensor([[[0.0]], [[1.0]]]), torch.ones(2, 1, dtype=torch.bool)) for name in "ab"}
    lam = {"a": torch.tensor([0.2, 0.2]), "b": torch.tensor([0.9, 0.9])}
    mix = mixup.Mix(1, torch.tensor([1, 0]), lam, torch.tensor([0.55, 0.55]))
    mixed = mixup.mix_state(State(streams, torch.tensor(3.0)), mix)
    torch.testing.assert_close(mixed.streams["a"].x.flatten(), torch.tensor([0.8, 0.2]))  # eq. 10
    torch.testing.assert_close(mixed.streams["b"].x.flatten(), torch.tensor([0.1, 0.9]))
    assert mixed.penalty == 3


def test_before_the_join_every_modality_and_sample_has_a_lambda_and_the_label_their_mean():
    mixes = [mix for mix in map(drawn, range(30)) if mix.depth <= 2]
    assert mixes
    for mix in mixes:
        assert set(mix.lam) == {"a", "b"}
        assert len({float(v) for lam in mix.lam.values() for v in lam}) == 12
        torch.testing.assert_close(mix.label, (mix.lam["a"] + mix.lam["b"]) / 2)  # eq. 11


def test_after_the_join_one_lambda_serves_the_stream_and_the_label():
    mixes = [mix for mix in map(drawn, range(30)) if mix.depth > 2]
    assert mixes
    for mix in mixes:
        assert set(mix.lam) == {"fused"}
        assert torch.equal(mix.label, mix.lam["fused"])  # eqs. 8-9
        assert len(set(mix.label.tolist())) == 6


def test_input_mixup_is_at_depth_zero():
    for seed in range(5):
        mix = mixup.draw(batch(4), PLAN, alpha=0.3, generator=torch.Generator().manual_seed(seed), at="input")
        assert mix.depth == 0
        assert set(mix.lam) == {"a", "b"}


def test_an_output_that_reads_one_modality_learns_what_is_left_of_it():
    """Its lambda; its partner's label if only the partner has the modality; its own if neither has."""
    plan = mixup.Plan(("a", "b"), ((), ("a", "b")))
    seen = set()
    for seed in range(30):
        mix = drawn(seed, size=4, plan=plan, missing=[("a", 0), ("a", 1)])
        torch.testing.assert_close(mix.shares["b"], mix.lam["b"])
        for i, partner in enumerate(mix.partner.tolist()):
            has, theirs = i >= 2, partner >= 2
            expected = {(1, 1): mix.lam["a"][i], (1, 0): 1.0, (0, 1): 0.0, (0, 0): 1.0}[has, theirs]
            share = float(mix.shares["a"][i])
            if not (has != theirs and share in (0, 1)) or 1e-3 < mix.lam["a"][i] < 1 - 1e-3:
                assert share == pytest.approx(float(expected), abs=1e-6)
                seen.add((has, theirs))
    assert len(seen) == 4


def test_after_the_join_every_output_has_the_one_lambda():
    mix = next(mix for mix in map(drawn, range(30)) if mix.depth > 2)
    assert mix.shares.keys() == {"a", "b"}
    assert all(torch.equal(share, mix.label) for share in mix.shares.values())


def test_streams_of_no_single_modality_take_the_mean():
    plan = mixup.Plan(("a", "b"), ((), ("a", "b", "bottleneck", "a<-b")))
    mix = drawn(0, plan=plan)
    mean = (mix.lam["a"] + mix.lam["b"]) / 2
    torch.testing.assert_close(mix.lam["bottleneck"], mean)
    torch.testing.assert_close(mix.lam["a<-b"], mean)
    torch.testing.assert_close(mix.label, mean)


def test_a_modality_counts_for_the_label_of_those_who_have_it():
    plan = mixup.Plan(("a", "b"), ((), ("a", "b")))
    seen = set()
    for seed in range(30):
        mix = drawn(seed, size=3, plan=plan, missing=[("a", 0), ("a", 1)])  # all have b, only sample 2 has a
        for i, partner in enumerate(mix.partner.tolist()):
            a, b = mix.lam["a"][i], mix.lam["b"][i]
            own, theirs = b + (a if i == 2 else 0), (1 - b) + (1 - a if partner == 2 else 0)
            torch.testing.assert_close(mix.label[i], own / (own + theirs))
            seen.add((i == 2, partner == 2))
    assert len(seen) == 4


def test_a_mix_in_which_nothing_would_be_left_is_the_sample():
    plan = mixup.Plan(("a", "b"), ((), ("a", "b")))
    for seed in range(40):  # sample 0 has a only, sample 1 has b only; a tiny alpha gives lambdas near 0 and 1
        mix = drawn(seed, size=2, plan=plan, missing=[("b", 0), ("a", 1)], alpha=0.01)
        if mix.partner[0] == 1 and mix.lam["a"][0] == 1 and mix.lam["b"][0] == 1:
            assert mix.label[0] == 1
        left = mix.lam["a"][0] + (1 - mix.lam["b"][0])
        assert left > 1e-4 or mix.partner[0] == 0


def test_a_blend_of_different_modalities_keeps_the_size_of_the_logits():
    values = torch.tensor([[[3.0], [5.0]]])
    for weights, expected in (((1, 1), 8.0), ((1, 0), 3.0), ((0.02, 0.02), 8.0), ((0.02, 0.0), 3.0), ((0.1, 0.3), 9.0)):
        found = sum_present(values, torch.tensor([[[weights[0]], [weights[1]]]], dtype=torch.float32))
        assert found.item() == pytest.approx(expected)  # (0.1 * 3 + 0.3 * 5) * 2 / 0.4 = 9


def test_a_modality_no_one_gave_does_not_count_for_the_label():
    plan = mixup.Plan(("a", "b"), ((), ("a", "b")))
    tokens = {"b": batch(4)["b"]}
    mix = mixup.draw(tokens, plan, alpha=0.3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mix.label, mix.lam["b"])


def test_partners_are_a_permutation():
    for seed in range(5):
        assert sorted(drawn(seed).partner.tolist()) == list(range(6))
    assert len({tuple(drawn(seed).partner.tolist()) for seed in range(5)}) > 1


def test_depths_are_drawn_evenly_from_the_first_layer_to_the_last():
    generator = torch.Generator().manual_seed(0)
    depths = [mixup.draw(batch(2), PLAN, alpha=0.3, generator=generator).depth for _ in range(800)]
    counts = [depths.count(d) for d in range(6)]
    assert counts[0] == counts[5] == 0  # not before the first layer, nor beyond the last
    assert all(150 < c < 250 for c in counts[1:5])  # 200 each, four standard deviations are 49


def test_depths_are_drawn_from_the_blocks_alone_unless_all_layers_are_asked_for():
    plan, generator = PLAN._replace(blocks=(1, 4)), torch.Generator().manual_seed(0)
    counts = {}
    for at in ("manifold", "every_layer"):
        depths = [mixup.draw(batch(2), plan, alpha=0.3, generator=generator, at=at).depth for _ in range(800)]
        counts[at] = [depths.count(d) for d in range(6)]
    assert counts["manifold"][0] == sum(counts["manifold"][2:4]) == counts["manifold"][5] == 0
    assert all(340 < counts["manifold"][d] < 460 for d in (1, 4))  # 400 each, four standard deviations are 57
    assert all(150 < c < 250 for c in counts["every_layer"][1:5])


@pytest.mark.parametrize(
    ("method", "places", "apart"),
    [
        ("sft", [1, *range(4, 15)], [1]),  # the paper's L + T = 1 + 11: not after the sparse layer, nor the join
        ("concat", range(2, 14), []),
        ("late", range(1, 13), range(1, 13)),
        ("mbt", [*range(1, 9), *range(10, 14)], [*range(1, 9), *range(10, 14)]),  # the ninth layer adds bottlenecks
        ("mult", [*range(2, 7), *range(8, 13)], [*range(2, 7), *range(8, 13)]),  # pairs, 5 blocks, side by side, 5
        ("locomt", range(1, 13), range(1, 13)),
        ("tokenfusion", range(1, 13), range(1, 13)),
    ],
)
def test_places_of_mixup_are_the_papers(method, places, apart):
    """One place in twelve of sft mixes per modality, 8.3 %; with the sparse layer and the join it was one in seven."""
    plan = build(method, {"a": 3, "b": 2}, 2).mixup_plan()
    assert plan.blocks == tuple(places)
    assert [depth for depth in plan.blocks if "a" in plan.streams[depth]] == list(apart)


def test_layers_that_say_nothing_are_places_of_mixup():
    """So that a method of one's own need not know of it; and pooling is none."""
    assert build("late", {"a": 3, "b": 2}, 2, unimodal_depth=3, stride=2).mixup_plan().blocks == (1, 3, 4)
    model = build("late", {"a": 3, "b": 2}, 2, unimodal_depth=2)
    model.layers[1] = torch.nn.Identity()
    assert model.mixup_plan().blocks == (1, 2)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_lambdas_have_the_moments_of_beta(alpha):
    """Mean 1/2 and variance 1 / (4 (2 alpha + 1)); Beta(0.3, 0.3) is heaviest at its ends."""
    plan = mixup.Plan(("a",), ((), ("fused",)))
    lam = drawn(1, size=20_000, alpha=alpha, plan=plan).label.double()
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(lam.min()) >= 0
    assert float(lam.max()) <= 1
    assert float(lam.mean()) == pytest.approx(0.5, abs=4 * sqrt(variance / 20_000))
    assert float(lam.var()) == pytest.approx(variance, rel=0.03)


def test_a_tiny_alpha_gives_no_nan():
    plan = mixup.Plan(("a",), ((), ("fused",)))
    lam = drawn(0, size=2_000, alpha=1e-3, plan=plan).label
    assert lam.isfinite().all()
    assert ((lam >= 0) & (lam <= 1)).all()


def test_the_generator_alone_decides():
    torch.manual_seed(1)
    one = drawn(5)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    two, other = drawn(5), drawn(6)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global generator is not touched
    assert one.depth == two.depth
    assert torch.equal(one.partner, two.partner)
    assert torch.equal(one.label, two.label)
    assert not torch.equal(one.label, other.label)


def test_plan_of_a_model():
    model = build("sft", **MODEL, keep=1)
    before, joined = ("a", "b"), ("fused",)
    # embedding, one block, sparsify; join, two blocks
    assert model.mixup_plan() == mixup.Plan(("a", "b"), (before, before, before, joined, joined, joined), (1, 4, 5))


def test_looking_for_streams_leaves_every_module_in_its_mode() -> None:
    model = build("sft", {"a": 3, "b": 4}, 2, keep=2)
    model.train().embed.eval()
    model.stream_names()
    assert model.training
    assert not model.embed.training
