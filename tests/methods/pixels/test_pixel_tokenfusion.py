"""TokenFusion on pixels: what is exchanged, what is penalised, who learns from which loss."""

import pytest
import torch
from pixel_cases import SIZE, logits_of, pictures, rough, whole

from sparsefuse.layers.exchange import Score
from sparsefuse.methods.pixels import build
from sparsefuse.tokens import Field

STREAMS = {"rgb": 3, "depth": 3}


def made(**options):
    torch.manual_seed(0)
    model = build("tokenfusion", STREAMS, 3, size=SIZE["segment"], drop_path=0.0, **options)
    for module in rough(model).modules():
        if isinstance(module, Score):  # scores spread from near 0 to near 1
            module.layers[-1].weight.data *= 20
    return model.eval()


def batch(**kwargs):
    return whole(2, streams=STREAMS, **kwargs)


def test_the_share_exchanged_is_that_of_the_scores_below_the_threshold():
    model, seen = made(threshold=0.48), []
    with torch.no_grad():
        out = model(batch(), probe=lambda _, state: seen.append(state))
        stage = model.layers[1]
        for i, name in enumerate(("depth", "rgb")):
            low = (stage.scores[i](seen[1].streams[name].x) < 0.48).float()
            assert 0.05 < low.mean() < 0.95
            assert out.state.exchanged[f"{name}@1.1"].x[..., 0].equal(low)
            torch.testing.assert_close(out.state.shares()[f"{name}@1.1"], low.mean())
    assert set(out.state.shares()) == {"depth@1.1", "rgb@1.1", "depth@2.1", "rgb@2.1"}


def test_a_block_reads_what_was_exchanged_times_its_score():
    """Equations 6 and 4, for two streams whose tokens are all real."""
    model, seen = made(threshold=0.48), []
    with torch.no_grad():
        model(batch(), probe=lambda _, state: seen.append(state))
        stage = model.layers[1]
        fields = [seen[1].streams[name] for name in ("depth", "rgb")]
        scores = [score(field.x) for score, field in zip(stage.scores, fields, strict=True)]
        for i, part in enumerate(stage.blocks[0].parts()):
            low = scores[i] < 0.48
            x = torch.where(low[..., None], fields[1 - i].x, fields[i].x)
            score = torch.where(low, scores[1 - i], scores[i])
            read = part.norms.attention(x) * score[..., None]
            expected = part.block(Field(x, fields[i].mask), part.norms, read)
            torch.testing.assert_close(seen[2].streams[part.name].x, expected.x)


def test_what_is_exchanged_changes_the_other_branch():
    """Without exchange a branch knows nothing of the other stream."""
    other = batch(seed=5)["rgb"]
    for threshold, fuses in ((0.0, False), (0.3, True)):
        model = made(threshold=threshold)
        plain, changed = (model.training_outputs(b)[0].logits[:, 0] for b in (batch(), {**batch(), "rgb": other}))
        assert ((plain - changed).abs().max() > 1e-3) == fuses
        assert (sum(model(batch()).state.shares().values()) > 0) == fuses


def test_nothing_is_exchanged_where_the_donor_is_missing():
    model = made(threshold=1.0)
    lacking = pictures([(16, 24)] * 2, [(), ("rgb",)], streams=STREAMS)
    exchanged = model(lacking).state.exchanged["depth@1.1"]
    assert exchanged.x[0].all()
    assert not exchanged.x[1].any()
    assert not exchanged.mask[1].any()
    torch.testing.assert_close(logits_of(model, lacking)[0], logits_of(model, batch())[0])


def test_translation_exchanges_in_the_last_block_of_each_stage():
    size = SIZE["translate"]._replace(depths=(1, 2, 1))
    model = build("tokenfusion", STREAMS, 3, task="translate", size=size)
    assert set(model(batch()).state.shares()) == {f"{name}@{stage}.1" for name in STREAMS for stage in (1, 2, 3)}
    assert [len(layer.blocks) for layer in model.layers if hasattr(layer, "scores")] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("threshold", "target"), [pytest.param(0.3, 0.2, marks=pytest.mark.slow), (0.02, 0.3)])
def test_the_penalty_draws_the_share_to_its_target(threshold, target):
    model = made(threshold=threshold, target_share=target)
    shares = lambda: torch.stack(list(model(batch()).state.shares().values()))  # noqa: E731
    assert (shares() - target).abs().max() > 0.1
    optimizer = torch.optim.Adam([p for layer in model.layers if hasattr(layer, "scores")
                                  for p in layer.scores.parameters()], 3e-3)  # fmt: skip
    for _ in range(60):
        optimizer.zero_grad()
        model.training_outputs(batch())[1].penalty.backward()
        optimizer.step()
    assert (shares() - target).abs().max() < 0.06


def test_the_papers_penalty_is_the_mean_score():
    model, seen = made(target_share=None, score_penalty=3.0), []
    with torch.no_grad():
        penalty = model(batch(), probe=lambda _, state: seen.append(state)).penalty
        means = [
            model.layers[depth].scores[i](seen[depth].streams[name].x).mean()
            for depth in (1, 4)
            for i, name in enumerate(("depth", "rgb"))
        ]
    torch.testing.assert_close(penalty, 3 * torch.stack(means).mean())


def test_the_loss_of_the_average_trains_its_weights_alone():
    model = made()
    outputs, _ = model.training_outputs(batch())
    assert outputs.names == ("depth", "rgb", "ensemble")
    outputs.logits[:, -1].pow(2).sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == {"head.weight"}
    assert model.head.weight.grad.abs().min() > 0


def test_the_average_is_weighted_and_of_the_streams_that_are_there():
    model = made(threshold=0.0)
    model.head.weight.data = torch.tensor([1.0, -1.0])
    lacking = pictures([(16, 24)] * 2, [(), ("rgb",)], streams=STREAMS)
    with torch.no_grad():
        outputs, _ = model.training_outputs(lacking)
    depth, rgb, average = outputs.logits.unbind(1)
    share = torch.tensor([1.0, -1.0]).softmax(0)
    torch.testing.assert_close(average[0], share[0] * depth[0] + share[1] * rgb[0])
    torch.testing.assert_close(average[1], depth[1])
    torch.testing.assert_close(outputs.weights, torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, 1 / 2]]))


def test_weak_channels_are_exchanged_and_penalised_in_halves_of_their_own():
    model = made(threshold=0.0, channel_threshold=0.5, channel_penalty=1.0, target_share=None, score_penalty=0.0)
    depth, rgb = (norms.attention.weight for norms in model.layers[1].blocks[0].norms)
    plain = model.training_outputs(batch())[0].logits[:, 0].detach()
    other = {**batch(), "rgb": batch(seed=5)["rgb"]}
    rgb.data[1] = depth.data[6] = 0.1  # not theirs to give up
    assert model.training_outputs(other)[0].logits[:, 0].isclose(model.training_outputs(batch())[0].logits[:, 0]).all()
    depth.data[1] = 0.1
    changed = model.training_outputs(other)[0].logits[:, 0] - model.training_outputs(batch())[0].logits[:, 0]
    assert changed.abs().max() > 1e-4
    assert plain.isfinite().all()
    model.zero_grad()
    model.training_outputs(batch())[1].penalty.backward()
    assert depth.grad.ne(0).tolist() == [True] * 4 + [False] * 4
    assert rgb.grad.ne(0).tolist() == [False] * 4 + [True] * 4
    torch.testing.assert_close(depth.grad[:4], torch.full((4,), 1 / (8 * 2)))  # a mean over channels, two blocks


def test_the_share_of_channels_is_of_those_that_a_stream_may_give_up():
    model = made(threshold=0.0, channel_threshold=0.5)
    depth, rgb = (norms.attention.weight for norms in model.layers[1].blocks[0].norms)  # 8 channels, 4 each
    depth.data[[0, 6]] = rgb.data[[1, 4, 5, 7]] = 0.1
    channels = model(batch()).state.channels
    assert {place: float(share) for place, share in channels.items()} == {
        "depth@1.1": 1 / 4, "rgb@1.1": 3 / 4, "depth@2.1": 0, "rgb@2.1": 0,
    }  # fmt: skip
    assert not made().forward(batch()).state.channels


def test_a_target_share_penalises_the_smallest_channels_of_each_half():
    model = made(threshold=0.0, channel_threshold=0.5, channel_penalty=1.0, channel_target_share=0.5, score_penalty=0.0)
    norms = [module.norms for stage in (1, 4) for module in model.layers[stage].blocks]
    expected, total = {}, 0.0
    for number, block in enumerate(norms):
        for i, norm in enumerate(block):
            weight = norm.attention.weight
            half = range(len(weight))[len(weight) // 2 * i : len(weight) // 2 * (i + 1)]
            smallest = sorted(half, key=lambda c: abs(weight[c].item()))[: len(half) // 2]
            total += sum(abs(weight[c].item()) for c in smallest) / len(weight)
            expected[number, i] = [c in smallest for c in range(len(weight))]
    penalty = model.training_outputs(batch())[1].penalty
    torch.testing.assert_close(penalty.item(), total / 2)  # of two blocks
    penalty.backward()
    for (number, i), penalised in expected.items():
        assert norms[number][i].attention.weight.grad.ne(0).tolist() == penalised


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.0, 0.25, None])
def test_as_many_channels_go_as_the_target_says(target):
    """AdamW draws what is penalised across the threshold, and what the noise of a task moves stays."""
    model = build("tokenfusion", STREAMS, 3, size=SIZE["segment"], threshold=0.0, channel_threshold=0.7,
                  channel_penalty=50.0, channel_target_share=target, score_penalty=0.0)  # fmt: skip
    weights = [norm.attention.weight for stage in (1, 4) for norm in model.layers[stage].blocks[0].norms]
    optimizer = torch.optim.AdamW(weights, 1e-2, weight_decay=0.0)
    generator, small = torch.Generator().manual_seed(0), whole(1, size=(8, 8), streams=STREAMS)
    for _ in range(60):
        optimizer.zero_grad()
        pull = sum((weight * torch.randn(len(weight), generator=generator)).sum() for weight in weights)
        (model.training_outputs(small)[1].penalty + pull).backward()
        optimizer.step()
    shares = [float(share) for share in model(small).state.channels.values()]
    assert shares == [1.0 if target is None else target] * 4


@pytest.mark.parametrize(
    ("shared", "streams", "once"),
    [("all", STREAMS, True), ("all_but_norm", STREAMS, False), ("all_but_norm", {"rgb": 3, "depth": 2}, False),
     ("none", STREAMS, False)],
)  # fmt: skip
def test_what_is_shared(shared, streams, once):
    model = build("tokenfusion", streams, 3, size=SIZE["segment"], shared=shared)
    patches, stage = model.layers[:2]
    assert len(patches.patches) == (1 if shared != "none" and len(set(streams.values())) == 1 else 2)
    assert len(patches.norms) == len(stage.blocks[0].norms) == (1 if once else 2)
    assert len(stage.blocks[0].blocks) == len(model.head.decoders) == (2 if shared == "none" else 1)
    assert len(stage.scores) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": 2}, "threshold must be from 0 to 1; got 2"),
        ({"target_share": 1.1}, "target_share must be from 0 to 1; got 1.1"),
        ({"score_penalty": -1}, "score_penalty of tokenfusion is -1; expected a number"),
        ({"channel_penalty": 0.1}, "channel_penalty=0.1 needs channel_threshold, as in 0.02; got none"),
        ({"channel_target_share": -0.1}, "channel_target_share of tokenfusion is -0.1; expected a num"),
        ({"channel_target_share": 1.1, "channel_threshold": 0.1, "channel_penalty": 1}, "from 0 to 1; got 1.1"),
        ({"channel_threshold": 0.1, "channel_target_share": 0.3}, "channel_target_share=0.3 needs channel_penalty, as"),
        ({"channel_threshold": 0.1, "shared": "all"}, "take shared='all_but_norm'"),
        ({"shared": "norm"}, "unknown shared 'norm'"),
        ({"loss": "sum"}, "unknown loss 'sum'"),
        ({"size": "b9"}, "unknown size of segment 'b9'"),
        ({"task": "draw"}, "unknown task 'draw'"),
        ({"size": {"dims": (8, 16), "depths": (1, 1)}}, "size lacks num_heads, reductions; got"),
        ({"size": SIZE["segment"]._replace(depths=(1,))}, "have an entry per stage; got"),
        ({"treshold": 1}, "unknown option of tokenfusion 'treshold'; did you mean 'threshold'"),
    ],
)
def test_bad_options_are_errors_that_say_so(options, says):
    with pytest.raises(ValueError, match=says):
        build("tokenfusion", STREAMS, 3, **options)


def test_a_size_may_be_given_as_in_a_file():
    size = {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1], "patches": [[7, 4], [3, 2]]}
    model = build("tokenfusion", STREAMS, 3, size={**size, "head_dim": 8})
    same = build("tokenfusion", STREAMS, 3, size=SIZE["segment"])
    assert str(model) == str(same)
