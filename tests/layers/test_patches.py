"""Patches against convolutions with the same weights, ragged lengths by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from sparsefuse import build
from sparsefuse.cost.count import count
from sparsefuse.features import frames
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.patches import Grid, grids
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens

NAN = float("nan")
FRAMES = {"height": 4, "width": 6, "channels": 3, "patch": 2, "time": 2}
BINS = {"height": 8, "patch": 4, "time": 3}


def real(x):
    return Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool))


def embed(features, patches, **options):
    torch.manual_seed(0)
    return Embed(features, 5, patches=patches, **options)


def test_tubelets_are_a_convolution_over_time_height_and_width():
    layer = embed({"a": 72}, {"a": FRAMES}).project[0]
    conv = nn.Conv3d(3, 5, (2, 2, 2), stride=(2, 2, 2))
    layer.weight.data = conv.weight.data.permute(0, 2, 3, 4, 1).flatten(1)
    layer.bias.data = conv.bias.data
    x = torch.randn(2, 7, 72)  # the seventh frame is a tail, which a convolution drops too
    expected = conv(x.unflatten(2, (4, 6, 3)).permute(0, 4, 1, 2, 3)).flatten(2).transpose(1, 2)
    cut = Grid(**FRAMES).cut(real(x))
    assert expected.shape == (2, 3 * 2 * 3, 5)
    assert cut.mask.shape == (2, 18)
    assert cut.mask.all()
    torch.testing.assert_close(layer(cut.x), expected)


def test_patches_of_a_spectrogram_are_a_convolution_over_time_and_bins():
    layer = embed({"a": 8}, {"a": BINS}).project[0]
    conv = nn.Conv2d(1, 5, (3, 4), stride=(3, 4))
    layer.weight.data, layer.bias.data = conv.weight.data.flatten(1), conv.bias.data
    x = torch.randn(2, 9, 8)
    expected = conv(x[:, None]).flatten(2).transpose(1, 2)  # (B, 3 x 2, 5), by time and then by bins
    torch.testing.assert_close(layer(Grid(**BINS).cut(real(x)).x), expected)


def test_patches_are_those_that_extraction_would_have_cut():
    pixels = np.random.default_rng(0).normal(size=(3, 4, 6, 3)).astype(np.float32)
    found = Grid(4, 6, 3, patch=2).cut(real(torch.from_numpy(frames.tokens(pixels))[None])).x[0]
    assert torch.equal(found, torch.from_numpy(frames.tokens(pixels, patch=2)))


def counted(lengths, padded, values=1):
    """Frames that hold their own number from 1, NaN beyond each sample's length."""
    mask = torch.arange(padded) < torch.tensor(lengths)[:, None]
    x = (torch.arange(padded) + 1.0)[None, :, None].expand(len(lengths), -1, values)
    return Tokens(x.masked_fill(~mask[..., None], NAN), mask)


def test_a_patch_is_real_if_all_its_frames_are_and_a_short_clip_repeats_its_last():
    cut = Grid(height=1, time=3).cut(counted([6, 5, 2, 1, 0], 8))
    assert cut.mask.tolist() == [[True, True], [True, False], [True, False], [True, False], [False, False]]
    assert cut.x[cut.mask].tolist() == [[1, 2, 3], [4, 5, 6], [1, 2, 3], [1, 2, 2], [1, 1, 1]]


def test_a_batch_shorter_than_one_patch_keeps_one():
    cut = Grid(height=1, time=4).cut(counted([2, 1], 2))
    assert cut.mask.tolist() == [[True], [True]]
    assert cut.x[:, 0].tolist() == [[1, 2, 2, 2], [1, 1, 1, 1]]


def test_hidden_frames_leave_a_sample_at_least_one_patch():
    x, mask = counted([6], 6)
    mask = torch.tensor([[False, True, False, False, True, False]])
    cut = Grid(height=1, time=3).cut(Tokens(x.masked_fill(~mask[..., None], NAN), mask))
    assert cut.mask.tolist() == [[True, False]]
    assert cut.x[0, 0].tolist() == [2, 5, 5]


@pytest.mark.parametrize("lengths", [None, {"a": 8, "b": 4}, {"a": 3, "b": 2}], ids=["sinusoids", "table", "longer"])
def test_padding_changes_nothing_and_its_gradient_is_zero(lengths):
    model = embed({"a": 8, "b": 2}, {"a": BINS}, lengths=lengths)
    for extra in (0, 1, 5):
        x, mask = counted([8, 3, 2], 8 + extra, 8)
        x.requires_grad_()
        found = model({"a": Tokens(x, mask)}).streams["a"]
        if not extra:
            expected = found
        count = found.mask.sum(1).tolist()
        assert count == [1 + 2 * 2, 1 + 2, 1 + 2]
        for i, n in enumerate(count):
            torch.testing.assert_close(found.x[i, :n], expected.x[i, :n])
        found.x[found.mask].sum().backward()
        assert not x.grad[~mask].any()


def test_positions_are_a_grid_and_longer_clips_are_mapped_onto_it_along_time():
    model = embed({"a": 8}, {"a": BINS}, lengths={"a": 8})  # 2 tubelets of 2 cells
    table = model.position[0].data
    assert table.shape == (1 + 4, 5)
    nn.init.zeros_(model.project[0].weight)
    nn.init.zeros_(model.project[0].bias)
    model.cls[0].data.zero_()
    torch.testing.assert_close(model({"a": real(torch.zeros(1, 6, 8))}).streams["a"].x[0], table)
    longer = model({"a": real(torch.zeros(1, 9, 8))}).streams["a"].x[0]  # 3 tubelets: first, halfway, last
    halfway = (table[1:3] + table[3:5]) / 2
    torch.testing.assert_close(longer, torch.cat([table[:3], halfway, table[3:]]))


PATCHED = {"a": 72, "b": 8, "c": 3}
MODEL = {"dim": 10, "num_heads": 2, "unimodal_depth": 1, "fusion_depth": 1, "patches": {"a": FRAMES, "b": BINS}}


def clip(lengths):
    torch.manual_seed(1)
    tokens = {}
    for name, width in PATCHED.items():
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        tokens[name] = Tokens(torch.randn(*mask.shape, width).masked_fill(~mask[..., None], NAN), mask)
    return tokens


class Sum(nn.Module):
    """Reads every real token."""

    def forward(self, state):
        return sum((t.x * t.mask[..., None]).sum(1) for t in state.streams.values())


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [None, {"a": 6, "b": 9, "c": 9}], ids=["sinusoids", "table"])
def test_an_exported_model_gives_the_same_logits_at_other_lengths(lengths):
    model = embed(PATCHED, MODEL["patches"], lengths=lengths)
    model = FusionModel(model, [], Sum(), features=PATCHED).eval()
    dynamic = {name: Tokens(*[{0: Dim.DYNAMIC, 1: Dim.DYNAMIC}] * 2) for name in PATCHED}
    with torch.no_grad():
        example = clip([9, 4, 2])
        program = torch.export.export(model, (example,), dynamic_shapes=(dynamic,), strict=False).module()
        for ragged in ([9, 4, 2], [2, 3], [5], [8, 7, 6, 5]):
            given = clip(ragged)
            torch.testing.assert_close(program(given).logits, model(given).logits, rtol=1e-4, atol=1e-5)


def test_the_projection_of_patches_is_counted():
    model = build("mbt", PATCHED, 3, **MODEL)
    found = count(model, {"a": 7, "b": 9, "c": 4})
    # 3 tubelets x 6 cells of 2 x 2 x 2 x 3 values, 3 x 2 patches of 3 x 4, four tokens of 3
    assert found.embed == 10 * (18 * 24 + 6 * 12 + 4 * 3)


def test_streams_hold_patches():
    seen = []
    model = build("mbt", PATCHED, 3, **MODEL)
    model(clip([9, 4]), probe=lambda depth, state: seen.append(state) if not depth else None)
    state: State = seen[0]
    assert {name: t.x.shape[1] - 1 for name, t in state.streams.items()} == {"a": 24, "b": 6, "c": 9}


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        ({"aa": {"height": 8}}, "unknown modality 'aa'; did you mean 'a'"),
        ({"a": {"hight": 8}}, "patches of 'a': unknown key 'hight'; did you mean 'height'"),
        ({"a": {"patch": 4}}, "lack height"),
        ({"a": {"height": 9}}, r"9 x 1 x 1 \(height x width x channels\) are 9 values, but its frames have 8"),
        ({"a": {"height": 8, "patch": 3}}, "height 8 is not a multiple of patch 3; the nearest divisor is 2"),
        ({"a": {"height": 8, "patch": 4, "time": 0}}, "time is 0; expected 1 or more"),
    ],
)
def test_patches_that_do_not_fit_are_an_error_that_says_so(patches, message):
    with pytest.raises(ValueError, match=message):
        grids(patches, {"a": 8})
