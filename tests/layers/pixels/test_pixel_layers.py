"""Layers on pixels do what a loop over their definition does, and padding does not reach them."""

import pytest
import torch
import torch.nn.functional as F

from sparsefuse.layers.pixels.block import MixMlp, Norms, ReducedAttention
from sparsefuse.layers.pixels.discriminator import Discriminator
from sparsefuse.layers.pixels.field import enlarged, mean_of_windows
from sparsefuse.layers.pixels.patches import OverlapPatches
from sparsefuse.layers.pixels.shuffle import Enlarge
from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.tokens import Field, Tokens


def field(rows=5, columns=7, dim=4, *, height=None, width=None, seed=0):
    x = torch.randn(2, rows, columns, dim, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(2, rows, columns, dtype=torch.bool)
    mask[:, : height or rows, : width or columns] = True
    return Field(x, mask)


def test_means_of_windows_are_those_of_their_real_tokens():
    whole = field(height=4)
    found = mean_of_windows(whole, 3)
    assert found.x.shape == (2, 2, 3, 4)
    for row in range(2):
        for column in range(3):
            part = whole.x[:, 3 * row : min(3 * row + 3, 4), 3 * column : 3 * column + 3]
            torch.testing.assert_close(found.x[:, row, column], part.mean((1, 2)))
    assert found.mask.all()
    assert not mean_of_windows(field(height=3), 3).mask[:, 1].any()


@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_is_bilinear_and_ignores_padding(factor):
    whole = field()
    plain = F.interpolate(whole.x.permute(0, 3, 1, 2), scale_factor=factor, mode="bilinear").permute(0, 2, 3, 1)
    size = 5 * factor - 1, 7 * factor
    torch.testing.assert_close(enlarged(whole, factor, *size), plain[:, : size[0], : size[1]])
    x = F.pad(whole.x, (0, 0, 0, 2, 0, 3), value=9.0)
    padded = Field(x, F.pad(whole.mask, (0, 2, 0, 3)))
    torch.testing.assert_close(enlarged(padded, factor, *size), plain[:, : size[0], : size[1]])


def test_a_patch_reads_the_pixels_around_its_centre():
    patches = OverlapPatches(4, 3, 7, 4)
    found = patches(field(9, 14, height=5))
    assert found.x.shape == (2, 3, 4, 3)
    assert found.mask[0].tolist() == [[True] * 4] * 2 + [[False] * 4]
    x = F.pad(field(9, 14).x[:, :5], (0, 0, 3, 3, 3, 7))
    for row in range(2):
        for column in range(4):
            seen = x[:, 4 * row : 4 * row + 7, 4 * column : 4 * column + 7]
            expected = torch.einsum("bhwc,ochw->bo", seen, patches.conv.weight) + patches.conv.bias
            torch.testing.assert_close(found.x[:, row, column], expected)


def test_reduced_attention_is_that_of_a_loop():
    """Queries are all tokens, keys the windows of 2 x 2 that hold something real; a window may be cut."""
    torch.manual_seed(0)
    attention, norms = ReducedAttention(4, 2, 2), Norms(4, 2)
    for parameter in attention.parameters():
        parameter.data = torch.randn(parameter.shape)
    whole = field(5, 7, height=3)
    keys = attention.keys(whole, norms)
    assert keys.mask[0].tolist() == [True] * 8 + [False] * 4
    x = F.pad(whole.x.masked_fill(~whole.mask[..., None], 0), (0, 0, 0, 1, 0, 1))
    windows = [x[:, r : r + 2, c : c + 2] for r in range(0, 4, 2) for c in range(0, 8, 2)]
    reduced = torch.stack([torch.einsum("bhwc,ochw->bo", w, attention.reduce.weight) for w in windows], 1)
    kv = attention.kv(norms.keys(reduced + attention.reduce.bias))
    q, k, v = attention.q(whole.tokens().x), kv[..., :4], kv[..., 4:]
    expected = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = (q[..., head] @ k[..., head].transpose(1, 2) / 2**0.5).softmax(-1)
        expected.append(weights @ v[..., head])
    torch.testing.assert_close(attention(whole.tokens().x, keys), attention.out(torch.cat(expected, -1)))


def test_who_has_no_key_gets_finite_numbers():
    attention = ReducedAttention(4, 2, 1)
    nothing = Tokens(torch.randn(2, 6, 4), torch.zeros(2, 6, dtype=torch.bool))
    assert attention(nothing.x, nothing).isfinite().all()


def test_the_mlp_convolves_each_channel_with_its_neighbours():
    mlp, whole = MixMlp(4, 8), field(height=4)
    hidden = mlp.first(whole.x)[:, :4]
    around = F.pad(hidden, (0, 0, 1, 1, 1, 1))
    weight = mlp.depthwise.weight[:, 0]
    expected = sum(
        around[:, i : i + 4, j : j + 7] * weight[:, i, j] for i in range(3) for j in range(3)
    ) + mlp.depthwise.bias  # fmt: skip
    torch.testing.assert_close(mlp(whole)[:, :4], mlp.last(F.gelu(expected)))
    torch.testing.assert_close(mlp.without_grid(whole.x), mlp.last(F.gelu(mlp.first(whole.x))))


def test_a_token_becomes_four_pixels():
    enlarge, x = Enlarge(8, 3), field(2, 3, 8).x
    found = enlarge(x)
    assert found.shape == (2, 4, 6, 3)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = x[:, 1, 2, 2 * (2 * i + j) : 2 * (2 * i + j) + 2]
        torch.testing.assert_close(found[:, 2 + i, 4 + j], enlarge.widen(part))


def test_a_discriminator_judges_patches_of_every_stream():
    torch.manual_seed(0)
    size = Size((8, 12), (1, 1), (1, 2), (2, 1), ((3, 2), (3, 2)))
    judge = Discriminator({"rgb": 3, "depth": 3}, 1, size=size).eval()
    fields = {"rgb": field(9, 13, 3), "depth": field(9, 13, 3, height=5, seed=1)}
    made = {name: torch.randn(2, 9, 13, 1) for name in fields}
    found = judge(fields, made)
    assert {name: logits.x.shape for name, logits in found.items()} == dict.fromkeys(fields, (2, 3, 4, 1))
    assert found["depth"].mask[0].tolist() == [[True] * 4] * 2 + [[False] * 4]
    changed = judge(fields, {**made, "rgb": made["rgb"] + 1})
    assert changed["depth"].x.equal(found["depth"].x)
    assert (changed["rgb"].x - found["rgb"].x).abs().max() > 1e-4
    sum(logits.x.sum() for logits in found.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in judge.parameters())
