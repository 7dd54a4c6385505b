"""TokenFusion's exchange against an obvious slow loop, its groups, its gradients, its penalty and its outputs."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save

from sparsefuse.layers.exchange import aligned, allot
from sparsefuse.methods import build
from sparsefuse.methods.tokenfusion import Ensemble, Exchanging
from sparsefuse.tokens import State, Tokens

CLOSE = {"rtol": 1e-5, "atol": 1e-6}
TWO = {"left": 4, "right": 3}
FOUR = {"a": 4, "b": 3, "c": 5, "d": 2}
SMALL = {"fusion_depth": 2, "dim": 10, "num_heads": 2, "threshold": 0.5}


def model_of(features=TWO, *, seed=0, lengths=None, **options):
    torch.manual_seed(seed)
    return build("tokenfusion", features, 3, lengths=lengths, **{**SMALL, **options})


def clips_of(features, *, seed=0):
    """Three samples of other lengths: the first lacks nothing, the second the first modality, the third has holes."""
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for i, (name, width) in enumerate(features.items()):
        longest = 7 + 3 * i
        lengths = torch.tensor([longest, 0 if i == 0 else longest - 4, longest - 2])
        mask = torch.arange(longest) < lengths[:, None]
        mask[2, 1 + i] = False
        batch[name] = Tokens(torch.randn(3, longest, width, generator=generator), mask)
    return batch


def states(model, batch):
    """The state before each layer, and the last."""
    found = []
    model.eval()(batch, probe=lambda _, state: found.append(state))
    return found


def spread(layer):
    """Makes norms and scores differ, so that nothing holds by chance."""
    with torch.no_grad():
        for norm in [*layer.norms, *layer.mlp_norms]:
            norm.weight.uniform_(-1, 1)
            norm.bias.normal_()
        for score in layer.scores:
            score.layers[-1].weight.mul_(3)
    return layer


def donor_of(layer, i, name, sample, place):
    """By eq. 7 and the clock: the donor's name and place for a token of sample's real ones, or None."""
    donors, tokens = layer.donors[i], sample[name]
    slot = tokens.mask.nonzero().flatten().tolist()[place + 1] - 1  # token 0 is CLS
    other = donors.names[int(donors.slots[slot % len(donors.slots)])]
    count, others = int(tokens.mask.sum()) - 1, int(sample[other].mask.sum()) - 1
    if others < 1:
        return None
    middle = (place + 0.5) / count * others + 1e-9
    return other, math.floor(middle)


def slow(layer, state):
    """The layer, sample by sample and token by token, over real tokens alone -> real tokens, and who gave way."""
    rule = layer.rule
    outs, gone = {}, {}
    part = lambda modules, i: modules[i] if len(modules) > 1 else modules[0]  # noqa: E731
    for b in range(3):
        sample = {n: Tokens(state.streams[n].x[b], state.streams[n].mask[b]) for n in layer.names}
        x = {n: t.x[t.mask] for n, t in sample.items()}
        s = {n: [1.0, *layer.scores[i](x[n][1:])] if len(x[n]) else [] for i, n in enumerate(layer.names)}

        def exchange(values, project, b=b, s=s, sample=sample):
            new = {n: list(v) for n, v in values.items()}
            for i, n in enumerate(layer.names):
                for place in range(len(values[n]) - 1):
                    found = donor_of(layer, i, n, sample, place)
                    if found and s[n][place + 1] < rule.threshold:
                        gone.setdefault((b, n), []).append(place)
                        value = values[found[0]][found[1] + 1]
                        projection = layer.donors[i].projections[layer.donors[i].names.index(found[0])]
                        new[n][place + 1] = projection(value) if project else value
            return new

        weights = s
        if rule.substitute == "input":
            x = {n: torch.stack(v) if v else x[n] for n, v in exchange(x, True).items()}
            weights = exchange(s, False)
        y = {}
        for i, n in enumerate(layer.names):
            if rule.positions == "residual":
                x[n] = x[n] + state.streams[f"{n}<-position"].x[b][sample[n].mask]
            y[n] = part(layer.norms, i)(x[n])
        before = {n: v.clone() for n, v in y.items()}
        for i, n in enumerate(layer.names):
            for place in range(len(y[n]) - 1) if rule.channel_threshold is not None else ():
                found = donor_of(layer, i, n, sample, place)
                for channel, gamma in enumerate(layer.norms[i].weight):
                    if found and abs(gamma) < rule.channel_threshold:
                        y[n][place + 1, channel] = before[found[0]][found[1] + 1, channel]
        times = lambda v, w: {n: torch.stack([a * c for a, c in zip(v[n], w[n], strict=True)])  # noqa: E731
                              if len(v[n]) else v[n] for n in v}  # fmt: skip
        if rule.substitute == "input":
            y = times(y, weights)
        for i, n in enumerate(layer.names):
            if len(y[n]):
                y[n] = part(layer.attentions, i)(y[n][None], torch.ones(1, len(y[n]), dtype=torch.bool)).x[0]
        if rule.substitute == "output":
            y = {n: torch.stack(v) if v else y[n] for n, v in exchange(times(y, s), True).items()}
        for i, n in enumerate(layer.names):
            z = x[n] + y[n]
            outs[b, n] = z + part(layer.mlps, i)(part(layer.mlp_norms, i)(z))
    return outs, gone


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"substitute": "output"},
        {"positions": "once", "projection": "none"},
        {"shared": "all_but_norm", "channel_threshold": 0.5},
        {"shared": "all", "substitute": "output"},
        {"channel_threshold": 0.5, "substitute": "output", "threshold": 0.0},
    ],
    ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()) or "defaults",
)
@pytest.mark.parametrize("features", [TWO, FOUR], ids=["two", "four"])
def test_an_exchanging_layer_equals_a_slow_loop(features, options):
    model = model_of(features, **options)
    layer = spread(model.layers[0])
    with torch.no_grad():
        state = states(model, clips_of(features))[0]
        expected, gone = slow(layer, state)
        found = layer(state)
        told = layer.exchanged(state)
    some = 0
    for name in features:
        tokens = found.streams[name]
        for b in range(3):
            torch.testing.assert_close(tokens.x[b][tokens.mask[b]], expected[b, name], **CLOSE)
            places = told[name][b][tokens.mask[b]].nonzero().flatten().tolist()
            assert [place - 1 for place in places] == sorted(set(gone.get((b, name), [])))
            some += len(places)
            assert not told[name][b][~tokens.mask[b]].any()
    real = sum(int(state.streams[n].mask[:, 1:].sum()) for n in features)
    assert some == 0 if options.get("threshold") == 0 else 0 < some < real


@pytest.mark.parametrize(
    ("own", "donor", "expected"),
    [
        ([1] * 4, [1] * 4, [0, 1, 2, 3]),
        ([1] * 4, [1] * 2, [0, 0, 1, 1]),
        ([1] * 2, [1] * 4, [1, 3]),
        ([1] * 3, [1] * 2, [0, 1, 1]),  # middles at 1/3, 1 and 5/3 of the donor's two
        ([1, 1, 0, 0], [1] * 4 + [0], [1, 3]),  # padding changes nothing
        ([1, 0, 1, 0], [0, 1, 0, 1, 1, 1], [3, 5]),  # holes: the second and the fourth real token
        ([0.2, 1.0], [0.5, 0.1], [0, 1]),  # weights of mixup: a token that is there at all is there
        ([1], [1] * 5, [2]),
    ],
)
def test_the_donor_of_a_token_is_at_the_same_share_of_the_clip(own, donor, expected):
    own, donor = (torch.tensor([[1.0, *mask]]) for mask in (own, donor))
    place = aligned(own, donor)[own > 0][1:]
    assert (place - 1).tolist() == expected


def test_without_a_donor_there_is_still_some_place_to_read():
    own = torch.tensor([[1, 1, 1], [0, 0, 0]]).bool()
    assert aligned(own, torch.zeros(2, 1).bool()).tolist() == [[0] * 3] * 2
    assert aligned(own, torch.zeros(2, 4).bool()).max() < 4


def test_a_threshold_of_zero_exchanges_nothing_and_of_one_everything_that_has_a_donor():
    batch = clips_of(TWO)
    for threshold in (0.0, 1.0):
        model = model_of(threshold=threshold)
        given = states(model, batch)
        for layer, state in zip(model.layers, given, strict=False):
            for name, other in (("left", "right"), ("right", "left")):
                mask = state.streams[name].mask & state.streams[other].mask[:, :1] & (threshold > 0)
                mask[:, 0] = False  # CLS
                assert torch.equal(layer.exchanged(state)[name], mask)


def test_without_exchange_no_modality_hears_of_another():
    model = model_of(threshold=0.0)
    one, two = clips_of(TWO), clips_of(TWO, seed=1)
    a, b = (states(model, batch)[-1].streams for batch in (one, {**two, "left": one["left"]}))
    assert torch.equal(a["left"].x, b["left"].x)
    model = model_of()
    a, b = (states(model, batch)[-1].streams for batch in (one, {**two, "left": one["left"]}))
    assert not torch.equal(a["left"].x[0, 0], b["left"].x[0, 0])


@pytest.mark.parametrize(("substitute", "threshold"), [("input", 0.5), ("output", 0.65)])
def test_an_exchanged_token_carries_gradient_to_its_donor_its_projection_and_scores(substitute, threshold):
    """Only one token of `left`, which gave way, is asked for."""
    model = model_of(substitute=substitute, threshold=threshold)
    layer = model.layers[0]
    state = states(model, clips_of(TWO))[0]
    streams = {n: Tokens(t.x.detach().requires_grad_(), t.mask) for n, t in state.streams.items()}
    token = int(layer.exchanged(state)["left"][0].nonzero()[0])
    donor = int(aligned(streams["left"].mask, streams["right"].mask)[0, token])
    layer(state._replace(streams=streams)).streams["left"].x[0, token].square().sum().backward()

    def moved(tensor):
        return tensor.grad is not None and bool(tensor.grad.any())

    assert streams["right"].x.grad[0, donor].any()
    assert bool(streams["left"].x.grad[0, token].any()) == (substitute == "output"), "the input form drops its own"
    assert streams["left"].x.grad[0, 0].any() == (substitute == "input")  # its neighbours, by attention
    mine, theirs = (donors.projections[0].layers[0].weight for donors in layer.donors)
    assert moved(mine)
    assert not moved(theirs)
    assert [moved(score.layers[-1].weight) for score in layer.scores] == [substitute == "input", True]


def test_tokens_that_give_way_to_each_other_swap():
    model = model_of(threshold=1.0, projection="none", positions="once", fusion_depth=1)
    layer = model.layers[0]
    state = states(model, {n: Tokens(torch.randn(1, 5, w), torch.ones(1, 5).bool()) for n, w in TWO.items()})[0]
    streams = {n: state.streams[n] for n in TWO}
    gone = {n: torch.ones(1, 6).bool() for n in TWO}
    x = layer._exchange({n: t.x for n, t in streams.items()}, gone, layer._sources(streams))
    for name, other in (("left", "right"), ("right", "left")):
        assert torch.equal(x[name][:, 1:], streams[other].x[:, 1:])
        assert torch.equal(x[name][:, 0], streams[name].x[:, 0])


@pytest.mark.parametrize(("slots", "donors"), [(12, 3), (13, 3), (1024, 2), (5, 1), (2, 3)])
def test_slots_are_split_into_equal_groups(slots, donors):
    found = torch.bincount(allot(slots, donors, torch.Generator().manual_seed(0)), minlength=donors)
    assert len(found) == donors
    assert found.max() - found.min() <= 1


def groups(model):
    return [[donors.slots for donors in layer.donors] for layer in model.layers if isinstance(layer, Exchanging)]


def test_groups_are_drawn_once_by_their_own_seed():
    a, b, c = model_of(FOUR, seed=0), model_of(FOUR, seed=1), model_of(FOUR, seed=0, group_seed=1)
    flat = [torch.cat(list(itertools.chain(*groups(model)))) for model in (a, b, c)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    first, second = groups(a)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True)), "the same in every layer"
    assert not torch.equal(first[0], first[1]), "modalities have groups of their own"
    torch.manual_seed(5)
    build("tokenfusion", FOUR, 3, **SMALL, group_seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    build("tokenfusion", FOUR, 3, **SMALL, group_seed=4)
    assert torch.equal(torch.rand(1), drawn), "the dice of everything else are not touched"


def test_groups_are_saved_and_loaded_and_not_trained():
    a, b = model_of(FOUR), model_of(FOUR, group_seed=1)
    b.load_state_dict(load(save(a.state_dict())))
    before = [slots.clone() for layer in groups(a) for slots in layer]
    assert all(torch.equal(x, y) for x, y in zip(before, itertools.chain(*groups(b)), strict=True))
    optimizer = torch.optim.SGD(b.parameters(), lr=0.1)
    b.train()(clips_of(FOUR)).logits.sum().backward()
    optimizer.step()
    assert all(torch.equal(x, y) for x, y in zip(before, itertools.chain(*groups(b)), strict=True))


def test_slots_beyond_the_table_begin_anew():
    features = dict.fromkeys("abc", 2)
    model = model_of(features, lengths=dict.fromkeys("abc", 3), threshold=1.0)
    clip = {n: Tokens(torch.randn(1, 8, 2), torch.ones(1, 8).bool()) for n in features}
    state = states(model, clip)[0]
    donors = model.layers[0].donors[0]
    sources = donors.sources(state.streams["a"].mask, state.streams)
    for i, source in enumerate(sources):
        assert source.takes[0, 1:].tolist() == [int(donors.slots[slot % 3]) == i for slot in range(8)]
    assert model_of(features).layers[0].donors[0].slots.shape == (1024,)


def test_one_modality_alone_exchanges_nothing_and_works():
    model = model_of({"left": 4})
    logits, penalty = model({"left": clips_of(TWO)["left"]})
    assert logits.isfinite().all()
    assert penalty == 0
    assert not any(isinstance(layer, Exchanging) for layer in model.layers)


def test_in_the_output_form_the_last_layer_is_plain():
    """No one reads what is put there: CLS is never exchanged, and the head reads CLS."""
    kinds = [isinstance(layer, Exchanging) for layer in model_of(substitute="output", fusion_depth=3).layers]
    assert kinds == [True, True, False]


@pytest.mark.parametrize("lengths", [None, {"left": 9, "right": 12}, {"left": 4, "right": 5}])
def test_positions_reach_layers_without_their_gradient(lengths):
    model = model_of(lengths=lengths)
    state = model.embed(clips_of(TWO))
    features = {n: F.linear(clips_of(TWO)[n].x * clips_of(TWO)[n].mask[..., None], p.weight, p.bias)
                for n, p in zip(TWO, model.embed.project, strict=True)}  # fmt: skip
    for name in TWO:
        position = state.streams[f"{name}<-position"]
        torch.testing.assert_close(state.streams[name].x[:, 1:] - position.x[:, 1:], features[name], **CLOSE)
        assert not position.x.requires_grad
    cut = {n: Tokens(t.x.detach(), t.mask) for n, t in state.streams.items()}
    later = state._replace(streams=cut)
    for layer in model.layers:
        later = layer(later)
    tables = [] if lengths is None else list(model.embed.position)
    assert all(g is None for g in torch.autograd.grad(
        sum(t.x.sum() for t in later.streams.values()), tables or [model.embed.cls[0]], allow_unused=True))  # fmt: skip
    logits = model(clips_of(TWO)).logits
    for table in tables:
        assert torch.autograd.grad(logits.square().sum(), table, retain_graph=True)[0].any()


@pytest.mark.parametrize("positions", ["residual", "once"])
@pytest.mark.parametrize("lengths", [None, {"left": 8, "right": 12}])
def test_twelve_layers_of_positions_do_not_drown_the_tokens(lengths, positions):
    """Of the tokens' variance a share is the clip's and the rest its place's: drowned, all clips look alike."""
    model = model_of(lengths=lengths, positions=positions, fusion_depth=12, dim=40, num_heads=5, threshold=0.02)
    generator = torch.Generator().manual_seed(1)
    batch = {name: Tokens(torch.randn(16, length, TWO[name], generator=generator), torch.ones(16, length).bool())
             for name, length in {"left": 8, "right": 12}.items()}  # fmt: skip
    first, *_, last = [
        [float(x.var(0).mean() / x.flatten(0, 1).var(0).mean()) for x in (s.streams[n].x[:, 1:].detach() for n in TWO)]
        for s in states(model, batch)
    ]
    assert all(after > before / 2 for before, after in zip(first, last, strict=True)), (first, last)


def test_positions_once_adds_no_stream():
    assert set(model_of(positions="once").embed(clips_of(TWO)).streams) == set(TWO)


def test_weak_channels_by_hand():
    """Width 2: LayerNorm gives -1 and 1. `left`'s first channel and both of `right`'s weigh 0.01; they swap."""
    model = model_of(channel_threshold=0.02, dim=2, num_heads=1, threshold=0.0, fusion_depth=1)
    layer = model.layers[0]
    with torch.no_grad():
        layer.norms[0].weight.copy_(torch.tensor([0.01, 3.0]))
        layer.norms[1].weight.copy_(torch.tensor([-0.01, 0.01]))
        layer.norms[0].bias.copy_(torch.tensor([10.0, 20.0]))
        layer.norms[1].bias.copy_(torch.tensor([30.0, 40.0]))
    x = {"left": torch.tensor([[[0.0, 9], [0, 9], [9, 0]]]), "right": torch.tensor([[[0.0, 9], [9, 0], [0, 9]]])}
    streams = {n: Tokens(v, torch.ones(1, 3).bool()) for n, v in x.items()}
    y = layer._normalised(x, layer._sources(streams))
    left = [[10 - 0.01, 23], [30 - 0.01, 23], [30 + 0.01, 17]]  # CLS keeps its own
    right = [[30 + 0.01, 40.01], [10 - 0.01, 23], [10 + 0.01, 17]]
    torch.testing.assert_close(y["left"][0], torch.tensor(left), rtol=0, atol=1e-3)
    torch.testing.assert_close(y["right"][0], torch.tensor(right), rtol=0, atol=1e-3)


def test_the_penalty_is_the_mean_over_tokens_modalities_samples_and_layers():
    model = model_of(score_penalty=0.6, channel_threshold=0.5, channel_penalty=0.4)
    for layer in model.layers:
        spread(layer)
    given = states(model, clips_of(TWO))
    layers = []
    for layer, state in zip(model.layers, given, strict=False):
        samples = []
        for b in range(3):
            means = [
                score(state.streams[n].x[b][state.streams[n].mask[b]][1:]).mean()
                for n, score in zip(TWO, layer.scores, strict=True)
                if state.streams[n].mask[b].any()
            ]
            samples.append(sum(means) / len(means))
        gamma = sum(norm.weight.abs().mean() for norm in layer.norms) / 2
        layers.append(0.6 * sum(samples) / 3 + 0.4 * gamma)
    torch.testing.assert_close(given[-1].penalty, sum(layers) / 2, **CLOSE)


def head_of():
    """Three modalities of width 4 that a sample lacks more and more of, and unequal weights."""
    torch.manual_seed(0)
    head = Ensemble(4, 2, ("a", "b", "c"))
    with torch.no_grad():
        head.weight.copy_(torch.tensor([1.0, 2.0, 3.0]).log())  # 1/6, 2/6, 3/6
    there = {"a": [1, 1, 0, 0], "b": [1, 0, 0, 0], "c": [1, 1, 1, 0]}
    streams = {n: Tokens(torch.randn(4, 2, 4), torch.tensor(m).bool()[:, None].expand(4, 2)) for n, m in there.items()}
    said = [
        classify(norm(streams[n].x[:, 0])) for n, norm, classify in zip(streams, head.norms, head.classify, strict=True)
    ]
    return head, State(streams, torch.zeros(())), said


def test_logits_are_averaged_over_the_modalities_that_a_sample_has():
    head, state, (a, b, c) = head_of()
    logits = head(state)
    torch.testing.assert_close(logits[0], a[0] / 6 + b[0] / 3 + c[0] / 2, **CLOSE)
    torch.testing.assert_close(logits[1], a[1] / 4 + c[1] * 3 / 4, **CLOSE)
    torch.testing.assert_close(logits[2], c[2], **CLOSE)
    assert torch.equal(logits[3], torch.zeros(2))


def test_every_modality_there_and_the_average_weigh_the_same():
    head, state, said = head_of()
    outputs = head.head_outputs(state)
    expected = [[1 / 4] * 4, [1 / 3, 0, 1 / 3, 1 / 3], [0, 0, 1 / 2, 1 / 2], [0, 0, 0, 1]]
    torch.testing.assert_close(outputs.weights, torch.tensor(expected))
    torch.testing.assert_close(outputs.logits, torch.stack([*said, head(state)], 1), **CLOSE)


def test_the_loss_of_the_average_trains_only_its_weights():
    head, state, _ = head_of()
    head.head_outputs(state).logits[:, -1].square().sum().backward()
    assert [name for name, p in head.named_parameters() if p.grad is not None and p.grad.any()] == ["weight"]
    head.zero_grad()
    head.head_outputs(state).logits[:, :-1].square().sum().backward()
    assert head.weight.grad is None or not head.weight.grad.any()
    assert all(p.grad.any() for name, p in head.named_parameters() if name != "weight")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, r"threshold is compared with scores, which are from 0 to 1; got 1\.5"),
        ({"threshold": float("nan")}, "threshold of tokenfusion is nan; expected a number, 0 or more"),
        ({"score_penalty": -1.0}, r"score_penalty of tokenfusion is -1\.0; expected a number, 0 or more"),
        ({"channel_penalty": -0.1, "channel_threshold": 0.1}, "channel_penalty of tokenfusion is -0.1"),
        ({"channel_penalty": 0.1}, "needs channel_threshold"),
        ({"channel_threshold": -0.1}, r"channel_threshold of tokenfusion is -0\.1; expected a number"),
        ({"channel_threshold": 0.1, "shared": "all"}, "take shared='all_but_norm'"),
        ({"substitute": "inputs"}, "unknown substitute 'inputs'; did you mean 'input'"),
        ({"shared": "all_but_norms"}, "did you mean 'all_but_norm'"),
        ({"positions": "residuals"}, "did you mean 'residual'"),
        ({"projection": "mpl"}, "did you mean 'mlp'"),
        ({"substitute": "output", "fusion_depth": 1}, "needs a fusion_depth of 2 or more; got 1"),
        ({"fusion_depth": 0}, "needs a fusion_depth of 1 or more; got 0"),
    ],
)
def test_bad_options_are_errors_that_say_what_to_give(options, message):
    with pytest.raises(ValueError, match=message):
        model_of(**options)


def share_exchanged_after(score_penalty, *, steps=40):
    """Trains on clips whose class two of six tokens of both modalities show; the threshold is the paper's."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    batch = {}
    for name, width in TWO.items():
        x = torch.randn(24, 6, width, generator=generator)
        x[:, 2:4] += 3 * F.one_hot(labels, width)[:, None]
        batch[name] = Tokens(x, torch.ones(24, 6).bool())
    model = model_of(threshold=0.02, score_penalty=score_penalty).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        logits, penalty = model(batch)
        optimizer.zero_grad()
        (F.cross_entropy(logits, labels) + penalty).backward()
        optimizer.step()
    given = states(model, batch)
    told = [layer.exchanged(state) for layer, state in zip(model.layers, given, strict=False)]
    return float(torch.cat([mask[:, 1:] for layer in told for mask in layer.values()]).float().mean())


@pytest.mark.slow
def test_a_larger_penalty_lets_more_tokens_be_exchanged():
    none, some, most = (share_exchanged_after(score_penalty) for score_penalty in (0.0, 0.03, 0.1))
    assert none < 0.05
    assert none + 0.05 < some < most - 0.05
