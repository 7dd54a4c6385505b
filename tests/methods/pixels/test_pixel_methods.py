"""What each of the other methods on pixels does."""

import itertools

import pytest
import torch
from pixel_cases import BASE, SIZE, STREAMS, case_id, logits_of, model_of, pictures, whole

from sparsefuse.cost.count import count_pixels
from sparsefuse.methods import methods as clip_methods
from sparsefuse.methods.pixels import build, fusions, methods
from sparsefuse.tokens import Field, PixelState, Tokens


def test_methods_are_found_by_file_name_and_apart_from_those_of_clips():
    assert set(methods()) == {"unimodal", "early", "late", "concat", "tokenfusion", "mbt", "sft"}
    assert fusions() == [name for name in methods() if name != "unimodal"]
    assert "pixels" not in clip_methods()


@pytest.mark.parametrize("case", BASE, ids=case_id)
def test_streams_interact_exactly_where_the_method_fuses(case):
    """f(a, b) - f(a', b) - f(a, b') + f(a', b') is zero for a sum of per-stream terms, whatever they are."""
    model = model_of(case).double()
    one, two = ({n: f.x.double() for n, f in whole(1, seed=s).items()} for s in (1, 2))
    for a, b in itertools.combinations(STREAMS, 2):
        f = [logits_of(model, {**one, a: x[a], b: y[b]}) for x in (one, two) for y in (one, two)]
        interaction = (f[0] - f[1] - f[2] + f[3]).abs().max()
        if case[0] in ("late", "unimodal"):
            assert interaction < 1e-12
        else:
            assert interaction > 1e-4


def test_bottlenecks_alone_carry_what_a_stream_says_to_anothers_prediction():
    model = model_of(("mbt", {"task": "segment", "loss": "each"}))
    batch, other = whole(), whole(seed=5)
    plain, changed = (model.training_outputs(b)[0].logits[:, 0] for b in (batch, {**batch, "rgb": other["rgb"]}))
    assert (plain - changed).abs().max() > 1e-3
    for layer in model.layers:  # without what streams write to it
        if hasattr(layer, "mix"):
            layer.register_forward_hook(lambda _, args, out: out._replace(tokens=args[0].tokens))
    plain, changed = (model.training_outputs(b)[0].logits[:, 0] for b in (batch, {**batch, "rgb": other["rgb"]}))
    assert plain.equal(changed)


def test_a_stream_that_is_missing_leaves_the_bottleneck_to_the_others():
    model = model_of(("mbt", {"task": "segment"}), streams={"depth": 2, "rgb": 3})
    layer = next(layer for layer in model.layers if hasattr(layer, "mix"))
    x = torch.randn(2, 4, 4, 8)
    full = torch.ones(2, 4, 4, dtype=torch.bool)
    half = full & torch.tensor([True, False])[:, None, None]
    bottleneck = Tokens(torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool))

    def after(depth, rgb):
        streams = {"depth": Field(x, depth), "rgb": Field(2 * x, rgb)}
        return layer(PixelState(streams, torch.zeros(()), {"bottleneck": bottleneck}, {}, {})).tokens["bottleneck"].x

    both, without, alone = after(full, full), after(full, half), after(full, full & False)
    torch.testing.assert_close(without[0], both[0])
    torch.testing.assert_close(without[1], alone[1])
    assert (both[1] - alone[1]).abs().max() > 1e-3


@pytest.mark.parametrize("method", ["concat", "sft"])
def test_a_stream_that_is_missing_adds_nothing_to_the_joined_pyramid(method):
    model = model_of((method, {"task": "segment"}), streams={"depth": 2, "rgb": 3})
    there, gone = torch.ones(1, 2, 3, dtype=torch.bool), torch.zeros(1, 2, 3, dtype=torch.bool)
    x = [torch.randn(1, 2, 3, dim) for dim in SIZE["segment"].dims]
    streams = {f"depth@{i}": Field(x[i - 1], there) for i in (1, 2)}
    streams |= {f"rgb@{i}": Field(9 * x[i - 1], gone) for i in (1, 2)}
    joined = model.layers[-1](PixelState(streams, torch.zeros(()), {}, {}, {})).streams
    for i in (1, 2):
        expected = x[i - 1]
        if method == "concat":
            own = model.layers[-1].narrow[i - 1](torch.cat([expected, torch.zeros_like(expected)], -1))
            expected = model.layers[-1].norms[i - 1](own)
        torch.testing.assert_close(joined[f"fused@{i}"].x, expected)


def test_dense_blocks_read_few_tokens_of_all_streams():
    model, counts = model_of(("sft", {"task": "segment"})), []
    for layer in model.layers:
        if hasattr(layer, "window"):
            layer.blocks[0].register_forward_pre_hook(lambda _, args: counts.append(args[0].x.shape[1]))
    logits_of(model, whole(1, size=(32, 48)))
    assert counts == [3 * 4 * 6] * 2  # of grids of 8 x 12 and 4 x 6


@pytest.mark.slow
@pytest.mark.parametrize(("size", "pixels"), [("tiny", (64, 64)), ("b0", (480, 640))])
def test_costs_rank_as_they_should(size, pixels):
    with torch.device("meta"):
        cost = {name: count_pixels(build(name, {"rgb": 3, "depth": 2}, 10, size=size), *pixels) for name in methods()}
    assert cost["unimodal"] < cost["early"] < 1.1 * cost["unimodal"]
    assert cost["early"] < cost["sft"] < cost["concat"] < cost["late"] < cost["tokenfusion"]
    assert cost["late"] < cost["mbt"] < 1.1 * cost["late"]


def test_late_predictions_are_each_streams_alone():
    model = model_of(("late", {"task": "segment"}))
    batch = whole()
    outputs, _ = model.training_outputs(batch)
    assert outputs.names == (*sorted(STREAMS), "ensemble")
    for i, name in enumerate(sorted(STREAMS)):
        torch.testing.assert_close(outputs.logits[:, i], model({name: batch[name]}).logits)
    torch.testing.assert_close(outputs.logits[:, -1], model(batch).logits)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ({}, "needs at least one of .*got none"),
        ({**whole(), "dept": whole()["depth"]}, "unknown stream 'dept'; did you mean 'depth'"),
        ({"rgb": torch.zeros(1, 8, 8, 2)}, r"stream 'rgb' must be \(B, H, W, 3\) float; got \(1, 8, 8, 2\)"),
        ({"rgb": torch.zeros(1, 8, 8, 3, dtype=torch.uint8)}, "float; got .*uint8"),
        ({"rgb": Field(torch.zeros(1, 8, 8, 3), torch.ones(1, 8, 7, dtype=torch.bool))}, r"mask .* \(1, 8, 8\)"),
        ({"rgb": torch.zeros(1, 8, 8, 3), "depth": torch.zeros(1, 8, 9, 2)}, r"one size.*rgb \(1, 8, 8\), depth \(1"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_that_says_so(batch, says):
    with pytest.raises(ValueError, match=says):
        model_of(("late", {"task": "segment"}))(batch)


@pytest.mark.parametrize(
    ("build_it", "says"),
    [
        (lambda: build("segformer", {"rgb": 3}, 2), "unknown method on pixels 'segformer'"),
        (lambda: build("late", {}, 2), "streams must name at least one"),
        (lambda: build("late", {"rgb@1": 3}, 2), "'rgb@1' has the name of a stream inside the model"),
        (lambda: build("late", {"rgb": 0}, 2), "stream 'rgb' must have 1 channel or more; got 0"),
        (lambda: build("late", {"rgb": 3}, 0), "num_classes must be 1 or more; got 0"),
        (lambda: build("unimodal", {"rgb": 3}, 2, stream="rbg"), "unknown stream 'rbg'; did you mean 'rgb'"),
        (lambda: build("mbt", {"rgb": 3}, 2, num_bottlenecks=0), "num_bottlenecks must be 1 or more"),
        (
            lambda: build("sft", {"rgb": 3}, 2, unimodal_depth=-1),
            "unimodal_depth of sft is -1; expected",
        ),
        (lambda: build("late", {"rgb": 3}, 2, task="translate", size=SIZE["segment"]), "needs strides of 2"),
    ],
)
def test_bad_options_of_methods_are_errors_that_say_so(build_it, says):
    with pytest.raises(ValueError, match=says):
        build_it()


def test_a_field_flattens_row_after_row():
    batch = pictures()
    tokens = batch["rgb"].tokens()
    assert tokens.mask.equal(batch["rgb"].mask.flatten(1))
    assert tokens.x[0, 22 + 5].equal(batch["rgb"].x[0, 1, 5])
