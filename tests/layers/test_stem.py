"""Stems by slow loops over tokens, channels and taps."""

import math

import pytest
import torch
import torch.nn.functional as F

from sparsefuse.cost.count import count
from sparsefuse.layers.stem import PatchStem, PictureStem, Standard, StemOptions, TimeStem, stems, strided
from sparsefuse.methods import build, methods, option_names
from sparsefuse.tokens import Tokens


def stream(*shape, seed=0):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return Tokens(x, torch.ones(shape[:2], dtype=torch.bool))


def test_windows_of_a_patch_stem_are_joined_tokens():
    x = torch.arange(1.0, 6)[None, :, None] * torch.tensor([1.0, 10])  # 5 tokens of 2 features
    out = PatchStem(2, tokens=3, hop=2)(Tokens(x, torch.ones(1, 5, dtype=torch.bool)))
    assert out.x[0].tolist() == [[1, 10, 2, 20, 3, 30], [3, 30, 4, 40, 5, 50], [5, 50, 0, 0, 0, 0]]
    assert out.mask.tolist() == [[True, True, True]]


def test_a_hop_that_skips_tokens_is_refused():
    with pytest.raises(ValueError, match="hop 4 would leave tokens out"):
        stems({"a": {"kind": "patch", "tokens": 3, "hop": 4}}, {"a": 2})


def by_loops(layer, maps):
    """`Separable` on one map (C, H, W), place by place."""
    weight, bias, (down, across) = layer.filter.weight, layer.filter.bias, layer.filter.stride
    taps = weight.shape[2:]
    high, wide = (math.ceil(n / s) for n, s in zip(maps.shape[1:], (down, across), strict=True))
    out = torch.zeros(weight.shape[0], high, wide)
    for c in range(out.shape[0]):
        for i in range(high):
            for j in range(wide):
                total = float(bias[c])
                for a in range(taps[0]):
                    for b in range(taps[1]):
                        row, column = i * down + a - taps[0] // 2, j * across + b - taps[1] // 2
                        if 0 <= row < maps.shape[1] and 0 <= column < maps.shape[2]:
                            for k in range(weight.shape[1]):
                                source = c if layer.filter.groups > 1 else k
                                total += float(weight[c, k, a, b] * maps[source, row, column])
                out[c, i, j] = total
    mixed = torch.einsum("dc,chw->dhw", layer.mix.weight, out) + layer.mix.bias[:, None, None]
    normed = (mixed.permute(1, 2, 0) - layer.norm.mean) / (layer.norm.var + 1e-5).sqrt()
    return F.gelu(normed * layer.norm.weight + layer.norm.bias).permute(2, 0, 1)


def trained(stem, *shape):
    """The stem, whose norms have seen a batch, so that they are none that change nothing."""
    stem.train()(stream(*shape, seed=1))
    for layer in stem.layers:
        torch.nn.init.normal_(layer.norm.weight)
        torch.nn.init.normal_(layer.norm.bias)
    return stem.eval()


def standardised(stem, x):
    return (x - stem.standard.mean) / (stem.standard.var + 1e-5).sqrt()


@torch.no_grad()
def test_convolutions_over_time_by_loops():
    torch.manual_seed(0)
    stem = trained(TimeStem(3, filters=4, depth=2, kernel=3, stride=2), 3, 9, 3)
    tokens = stream(1, 7, 3)
    maps = (tokens.x[0] @ stem.project.weight.T + stem.project.bias).T[..., None]
    for layer in stem.layers:
        maps = by_loops(layer, maps)
    out = stem(tokens)
    torch.testing.assert_close(out.x[0], standardised(stem, maps[..., 0].T), rtol=1e-4, atol=1e-5)
    assert out.x.shape == (1, stem.length(7), 4) == (1, 2, 4)


@torch.no_grad()
@pytest.mark.parametrize("planes", [1, 2])
def test_convolutions_over_pictures_by_loops(planes):
    torch.manual_seed(0)
    options = StemOptions("conv", height=5, width=4, channels=2, planes=planes, filters=3, depth=2)
    stem = trained(PictureStem(options, kernel=3), 3, 2, planes * 5 * 4 * 2)
    tokens = stream(1, 2, planes * 5 * 4 * 2)
    out = stem(tokens).x[0]
    assert out.shape == (2, stem.features) == (2, 3 * 2 * 1)
    for frame, expected in zip(tokens.x[0], out, strict=True):
        maps = torch.cat([plane.permute(2, 0, 1) for plane in frame.view(planes, 5, 4, 2)])
        for layer in stem.layers:
            maps = by_loops(layer, maps)
        torch.testing.assert_close(expected, standardised(stem, maps.flatten()), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_spectrogram_is_one_picture_over_time_and_bins():
    torch.manual_seed(0)
    stem = trained(PictureStem(StemOptions("conv", height=6, filters=3, depth=2), kernel=3), 3, 9, 6)
    tokens = stream(1, 9, 6)
    maps = tokens.x.clone()  # (1, time, bins)
    for layer in stem.layers:
        maps = by_loops(layer, maps)
    out = stem(tokens)
    assert out.x.shape == (1, stem.length(9), stem.features) == (1, 3, 3 * 2)
    expected = standardised(stem, maps.transpose(0, 1).flatten(1))
    torch.testing.assert_close(out.x[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_token_is_real_if_one_that_it_begins_with_is(stride):
    mask = torch.tensor([[1, 1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 0, 0]]).bool()
    expected = [[bool(row[i : i + stride].any()) for i in range(0, 7, stride)] for row in mask]
    assert strided(mask, stride, len(expected[0])).tolist() == expected


KINDS = {
    "patch": ({"kind": "patch", "tokens": 3, "hop": 2}, 4),
    "time": ({"kind": "conv", "filters": 4}, 4),
    "picture": ({"kind": "conv", "height": 2, "width": 2, "filters": 4}, 4),
    "spectrogram": ({"kind": "conv", "height": 4, "filters": 4}, 4),
}


@torch.no_grad()
@pytest.mark.parametrize("length", [5, 7])  # of 5, a second layer has a tap behind the end
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_changes_nothing(kind, length):
    options, width = KINDS[kind]
    torch.manual_seed(0)
    stem = stems({"a": options}, {"a": width})["a"]
    x, mask = stream(1, length, width)
    padded = Tokens(
        torch.cat([x, x.new_full((1, 6, width), float("nan"))], 1), torch.cat([mask, torch.zeros(1, 6).bool()], 1)
    )
    alone, out = stem(Tokens(x, mask)), stem(padded)
    torch.testing.assert_close(out.x[:, : alone.x.shape[1]], alone.x)
    assert out.mask.sum() == alone.mask.sum() == stem.length(length)
    assert out.mask[:, : alone.x.shape[1]].all()


def test_features_are_standard_over_the_real_tokens_of_a_batch():
    x, _ = stream(2, 5, 3)
    x = 4 * x + 7
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    x[~mask] = float("nan")
    standard = Standard(3)
    out = standard(x, mask)[mask]
    torch.testing.assert_close(out, (x[mask] - x[mask].mean(0)) / x[mask].std(0, unbiased=False), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_outside_training_the_batches_so_far_count():
    """The first is taken as it is, then as in PyTorch a tenth of the newest, but no less than an equal share."""
    standard, batches = Standard(2), [stream(3, 4, 2, seed=i) for i in range(14)]
    mean, var = torch.zeros(2), torch.ones(2)
    for i, batch in enumerate(batches):
        standard(*batch)
        share = max(0.1, 1 / (i + 1))
        mean += share * (batch.x.mean((0, 1)) - mean)
        var += share * (batch.x.flatten(0, 1).var(0, unbiased=False) - var)
    x, mask = batches[0]
    expected = (x - mean) / (var + 1e-5).sqrt()
    torch.testing.assert_close(standard.eval()(x, mask), expected)
    standard.train()(torch.full_like(x, float("nan")), torch.zeros_like(mask))  # nothing real: nothing learned
    torch.testing.assert_close(standard.eval()(x, mask), expected)


def test_convolutions_start_with_outputs_that_differ_from_token_to_token():
    """Else positions, of deviation 1, drown out what tells tokens apart."""
    torch.manual_seed(0)
    stem = stems({"a": {"kind": "conv", "height": 8, "filters": 16}}, {"a": 8})["a"]
    out = stem(stream(4, 40, 8)).x.flatten(0, 1)
    assert out.mean(0).abs().max() < 1e-5
    torch.testing.assert_close(out.std(0, unbiased=False), torch.ones(stem.features), rtol=0.01, atol=0)  # epsilon


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("conv", "stem is 'conv'; expected options by modality"),
        ({"a": "conv"}, "stem of 'a' is 'conv'; expected its options, as in"),
        ({"b": {}}, "unknown modality 'b'"),
        ({"a": {"kin": "conv"}}, "unknown key 'kin'; did you mean 'kind'"),
        ({"a": {"kind": "cov"}}, "unknown kind 'cov'; did you mean 'conv'"),
        ({"a": {"kind": "conv", "height": 3, "width": 3}}, r"3 x 3 x 1 = 9 values, but its tokens have 4 features"),
        ({"a": {"kind": "conv", "depth": 0}}, "depth is 0; expected a whole number, 1 or more"),
        ({"a": {"kind": "conv", "filters": 2.5}}, "filters is 2.5; expected a whole number"),
        ({"a": {"kind": "conv", "kernel": 4}}, "kernel is 4; expected an odd number"),
    ],
)
def test_options_that_fit_no_stem_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        stems(given, {"a": 4})


@pytest.mark.parametrize("method", methods())
def test_every_method_takes_stems(method):
    assert "stem" in option_names(method)
    features, lengths = {"a": 4, "b": 6}, {"a": 30, "b": 12}
    stem = {"a": {"kind": "conv", "filters": 8, "depth": 1}}
    model = build(method, features, 3, lengths=lengths, stem=stem, **_small(method)).eval()
    read = {name: stream(2, lengths[name], width) for name, width in features.items()}
    assert model(read).logits.shape == (2, 3)
    assert model.features == features
    if "a" in model.modalities:
        products = 30 * 4 * 8 + 15 * 8 * 5 + 15 * 8 * 8  # projection; taps; mix
        plain = build(method, {"a": 8, "b": 6}, 3, lengths={"a": 15, "b": 12}, **_small(method))
        assert count(model, lengths).embed == count(plain, {"a": 15, "b": 12}).embed + products


def _small(method):
    from sparsefuse.methods import find

    return {**find(method).TEST, **({"modality": "a"} if method == "unimodal" else {})}
