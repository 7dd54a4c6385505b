import pytest
import torch

from sparsefuse.config import Data, Picture, SpecAugment
from sparsefuse.data.augment import (
    add_noise,
    change_pictures,
    check_names,
    crop,
    hide_bands,
    hide_modalities,
    hide_tokens,
    scale,
    warp,
)
from sparsefuse.tokens import Batch, Tokens


def batch_of(present):
    """`present` (B, M): two tokens of ones where a modality is present."""
    masks = torch.tensor(present, dtype=torch.bool)
    tokens = {
        name: Tokens(mask[:, None, None].expand(-1, 2, 3).float(), mask[:, None].expand(-1, 2).clone())
        for name, mask in zip("abc", masks.unbind(1), strict=True)
    }
    return Batch(tokens, torch.zeros(len(present)), [str(i) for i in range(len(present))])


def hidden(batch, p, seed=0):
    found = hide_modalities(batch, p, torch.Generator().manual_seed(seed))
    return found, torch.stack([t.mask.any(1) for t in found.tokens.values()], 1)


def test_certain_hiding_leaves_exactly_one_that_was_there():
    present = [[True, True, True], [True, True, False], [False, False, True]] * 50
    found, kept = hidden(batch_of(present), 1.0)
    assert kept.sum(1).tolist() == [1] * 150
    assert not (kept & ~torch.tensor(present)).any()
    assert kept[0::3].any(0).tolist() == [True] * 3  # any of them may be the one
    assert found.tokens["a"].x.sum(dim=(1, 2)).bool().equal(kept[:, 0])


def test_no_hiding_changes_nothing():
    batch = batch_of([[True, False, True]])
    found, _ = hidden(batch, 0.0)
    assert all(torch.equal(found.tokens[n].x, batch.tokens[n].x) for n in batch.tokens)
    assert all(torch.equal(found.tokens[n].mask, batch.tokens[n].mask) for n in batch.tokens)


def test_hiding_has_the_asked_probability():
    """All three are below p with p^3, and then one stays: 0.3 - 0.3^3 / 3 = 0.291 of modalities are hidden."""
    _, kept = hidden(batch_of([[True, True, True]] * 4000), 0.3)
    assert 1 - kept.float().mean().item() == pytest.approx(0.291, abs=0.015)  # 3 sigma of 12,000 draws


def test_hiding_follows_the_generator():
    batch = batch_of([[True, True, True]] * 50)
    assert torch.equal(hidden(batch, 0.5, seed=1)[1], hidden(batch, 0.5, seed=1)[1])
    assert not torch.equal(hidden(batch, 0.5, seed=1)[1], hidden(batch, 0.5, seed=2)[1])


def test_hidden_tokens_are_whole_twelfths_of_the_real_length():
    x = torch.ones(200, 30, 1)
    mask = (torch.arange(30) < 24).expand(200, 30)  # 24 real tokens: twelve spans of two
    batch = Batch({"a": Tokens(x, mask)}, torch.zeros(200), [""] * 200)
    hidden = hide_tokens(batch, 0.3, torch.Generator().manual_seed(0)).tokens["a"]
    assert not hidden.mask[:, 24:].any()
    pairs = hidden.mask[:, :24].unflatten(1, (12, 2))
    assert torch.equal(pairs[..., 0], pairs[..., 1])
    assert pairs.float().mean().item() == pytest.approx(0.7, abs=0.02)  # 2,400 spans: std 0.009
    assert torch.equal(hidden.x[..., 0] == 1, hidden.mask)


def test_hiding_everything_leaves_one_span_of_every_stream_there_is():
    mask = torch.tensor([[True] * 5, [True, False, False, False, False], [False] * 5])
    batch = Batch({"a": Tokens(torch.ones(3, 5, 1), mask)}, torch.zeros(3), ["", "", ""])
    for seed in range(20):
        hidden = hide_tokens(batch, 1.0, torch.Generator().manual_seed(seed)).tokens["a"]
        assert hidden.mask.sum(1).tolist() == [1, 1, 0]


def counting(length, padded, samples=300):
    """Each token holds its own number, 1 to `length`; padding holds 0."""
    mask = (torch.arange(padded) < length).expand(samples, padded)
    return Tokens((torch.arange(padded) + 1.0)[None, :, None] * mask[..., None], mask)


def cropped(share, seed=0):
    """A stream `a` of 20 tokens and an aligned one `b` of 100, and what is left of both."""
    batch = Batch({"a": counting(20, 24), "b": counting(100, 100)}, torch.zeros(300), [""] * 300)
    return crop(batch, share, torch.Generator().manual_seed(seed)).tokens


def test_a_crop_is_one_run_of_neighbours_that_stands_first():
    for x, mask in cropped(0.5).values():
        kept = mask.sum(1)
        assert torch.equal(mask, torch.arange(mask.shape[1]) < kept[:, None])
        first = x[:, :1, 0]
        assert torch.equal(x[..., 0], (first + torch.arange(mask.shape[1])) * mask)
        assert kept.min() >= mask.sum(1).max() / 2
        assert first.min() == 1
        assert first.max() > 1


def test_a_crop_takes_the_same_part_of_every_stream():
    a, b = cropped(0.5).values()
    begin_a, begin_b = (t.x[:, 0, 0] - 1 for t in (a, b))
    end_a, end_b = begin_a + a.mask.sum(1), begin_b + b.mask.sum(1)
    # One token of `a` lasts as long as five of `b`; starts are rounded down, ends up.
    assert (begin_b - 5 * begin_a >= 0).all()
    assert (begin_b - 5 * begin_a < 5).all()
    assert (5 * end_a - end_b >= 0).all()
    assert (5 * end_a - end_b < 5).all()


def test_crops_are_uniform_up_to_their_largest_share():
    left = cropped(0.5)["b"].mask.sum(1).float()
    assert left.min().item() == pytest.approx(50, abs=2)
    assert left.mean().item() == pytest.approx(75.5, abs=2.5)  # 300 draws, std 14.4: 3 sigma
    assert left.max() <= 100


def test_a_single_token_and_a_missing_stream_stay_as_they_are():
    mask = torch.tensor([[True, False], [False, False]])
    batch = Batch({"a": Tokens(mask[..., None].float(), mask)}, torch.zeros(2), ["", ""])
    for seed in range(20):
        found = crop(batch, 0.99, torch.Generator().manual_seed(seed)).tokens["a"]
        assert torch.equal(found.mask, mask)
        assert torch.equal(found.x, batch.tokens["a"].x)


def test_noise_has_the_asked_spread_on_real_tokens_only():
    mask = torch.tensor([[True] * 400, [True] * 300 + [False] * 100])
    batch = Batch({"a": Tokens(torch.full((2, 400, 50), 3.0) * mask[..., None], mask)}, torch.zeros(2), ["", ""])
    x, kept = add_noise(batch, 0.5, torch.Generator().manual_seed(0)).tokens["a"]
    assert torch.equal(kept, mask)
    assert not x[~mask].any()
    assert x[mask].mean().item() == pytest.approx(3, abs=0.01)  # 35,000 draws: std 0.003
    assert x[mask].std().item() == pytest.approx(0.5, abs=0.01)
    again = add_noise(batch, 0.5, torch.Generator().manual_seed(0)).tokens["a"].x
    assert torch.equal(x, again)


def test_bands_have_uniform_widths_within_bins_and_real_tokens():
    mask = (torch.arange(12) < 8).expand(3000, 12)
    tokens = Tokens(torch.ones(3000, 12, 10) * mask[..., None], mask)
    drawn = SpecAugment(freq=4, freq_masks=1, time=0, time_masks=3)
    x, kept = hide_bands(tokens, drawn, torch.Generator().manual_seed(0))
    assert torch.equal(kept, mask)
    hidden = x[:, 0] == 0  # (B, 10)
    assert torch.equal(x[:, :8] == 0, hidden[:, None].expand(-1, 8, -1))
    widths = hidden.sum(1)
    shares = torch.bincount(widths, minlength=5) / 3000
    assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.03)  # four standard deviations
    edges = hidden.diff(dim=1).sum(1) + hidden[:, 0].long() + hidden[:, -1].long()
    assert edges[widths > 0].eq(2).all()  # one band each
    wide = hidden[widths == 4]  # seven places, each as likely
    starts = torch.bincount(wide.long().argmax(1), minlength=7) / len(wide)
    assert starts.tolist() == pytest.approx([1 / 7] * 7, abs=0.06)


def test_bands_of_tokens_lie_within_the_real_length_and_may_be_several():
    mask = torch.arange(40) < torch.tensor([30, 3, 0])[:, None]
    tokens = Tokens(torch.ones(3, 40, 2) * mask[..., None], mask)
    most, bands = 0, set()
    for seed in range(200):
        drawn = SpecAugment(freq=0, time=5, time_masks=2)
        x, kept = hide_bands(tokens, drawn, torch.Generator().manual_seed(seed))
        assert torch.equal(kept, mask)
        hidden = (x[..., 0] == 0) & mask
        assert torch.equal(x[..., 0], x[..., 1])
        most = max(most, int(hidden[0].sum()))
        bands.add(int((hidden[0].long().diff() == 1).sum()) + int(hidden[0, 0]))
        assert not x[2].any()
    assert most == 10
    assert bands == {0, 1, 2}


def film(samples, *, height=4, width=6, channels=2, length=3, padded=4):
    """Frames of noise, the same in every sample; the last is padding."""
    x = torch.randn(1, length, height * width * channels, generator=torch.Generator().manual_seed(5))
    x = torch.nn.functional.pad(x.expand(samples, -1, -1), (0, 0, 0, padded - length))
    return Tokens(x, (torch.arange(padded) < length).expand(samples, padded))


def changed(tokens, seed=0, **options):
    picture = Picture(4, 6, 2, **options)
    return change_pictures(tokens, picture, torch.Generator().manual_seed(seed))


def test_a_flip_swaps_left_and_right_in_half_of_the_samples():
    tokens = film(400)
    x, mask = changed(tokens, flip=0.5)
    assert torch.equal(mask, tokens.mask)
    frames = tokens.x[0].unflatten(1, (4, 6, 2))
    kept, swapped = frames.flatten(1), frames.flip(2).flatten(1)
    is_kept = torch.isclose(x, kept, atol=1e-5).flatten(1).all(1)
    is_swapped = torch.isclose(x, swapped, atol=1e-5).flatten(1).all(1)
    assert (is_kept ^ is_swapped).all()
    assert is_swapped.float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_crop_is_a_window_of_the_frame_enlarged():
    """A frame that rises by one per column: a window keeps the rise times its scale, within the frame's values."""
    ramp = torch.arange(6.0)[None, :, None].expand(4, 6, 2).reshape(1, 1, -1)
    tokens = Tokens(ramp.expand(300, 1, -1), torch.ones(300, 1, dtype=torch.bool))
    frames = changed(tokens, crop=0.5).x.unflatten(2, (4, 6, 2))[:, 0]
    rise = frames[:, :, 3] - frames[:, :, 2]
    torch.testing.assert_close(rise, rise[:, :1, :1].expand_as(rise))
    assert rise.min().item() == pytest.approx(0.5, abs=0.02)
    assert rise.max().item() == pytest.approx(1.0, abs=0.02)
    assert frames.min() >= 0
    assert frames.max() <= 5
    assert (frames[:, 0, 0, 0] > 1).any()  # windows to the right
    assert (frames[:, 0, 5, 0] < 4).any()  # and to the left


def test_brightness_adds_and_contrast_stretches_about_the_samples_mean():
    tokens = film(300)
    real = tokens.x[0, :3]
    mean = real.mean()
    x = changed(tokens, brightness=0.3).x
    added = x[:, :3] - real
    torch.testing.assert_close(added, added[:, :1, :1].expand_as(added), atol=1e-5, rtol=0)
    assert added.min().item() == pytest.approx(-0.3, abs=0.01)
    assert added.max().item() == pytest.approx(0.3, abs=0.01)
    assert not x[:, 3].any()
    x = changed(tokens, contrast=0.4).x[:, :3]
    torch.testing.assert_close(x.mean((1, 2)), mean.expand(300))
    stretch = x.std((1, 2)) / real.std()
    assert stretch.min().item() == pytest.approx(0.6, abs=0.01)
    assert stretch.max().item() == pytest.approx(1.4, abs=0.01)


def test_pictures_follow_the_generator():
    options = {"crop": 0.3, "flip": 0.5, "brightness": 0.2, "contrast": 0.2}
    one, same, other = (changed(film(3), seed, **options).x for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spec_augment": {"b": SpecAugment()}}, "data.spec_augment: unknown modality 'b'"),
        ({"pictures": {"a": Picture(2, 3)}}, "'a' is 2 x 3 x 1 = 6 values, but its frames have 8 features"),
    ],
)
def test_what_no_modality_fits_is_an_error(given, message):
    with pytest.raises(ValueError, match=message):
        check_names(Data(**given), {"a": 8})


def warped(share, seed=0):
    """As `cropped`."""
    batch = Batch({"a": counting(20, 24), "b": counting(100, 100)}, torch.zeros(300), [""] * 300)
    return warp(batch, share, torch.Generator().manual_seed(seed)).tokens


def test_a_warp_keeps_ends_masks_and_order_and_changes_the_tempo_by_its_share():
    for name, length in (("a", 20), ("b", 100)):
        x, mask = warped(0.6)[name]
        assert torch.equal(mask, counting(length, mask.shape[1]).mask)
        assert not x[~mask].any()
        read = x[:, :length, 0]
        assert (read[:, 0] - 1).abs().max() < 0.5  # a token's middle moves by less than half a token
        assert (read[:, -1] - length).abs().max() < 0.5
        tempo = read[:, 1:-1].diff(dim=1)  # of tokens a token; 1 where nothing changes
        assert 0.4 <= tempo.min() < 0.55
        assert 1.45 < tempo.max() <= 1.6001


def test_a_warp_reads_the_same_moment_of_every_stream():
    """A stream at five times the rate: the middle of token i of `a` is that of token 5 i + 2 of `b`."""
    a, b = (tokens.x[..., 0] for tokens in warped(0.6).values())
    torch.testing.assert_close(5 * (a[:, 1:19] - 0.5), b[:, 7:95:5] - 0.5, atol=0.02, rtol=0)


def test_a_warp_follows_the_generator_and_leaves_what_has_no_order():
    assert torch.equal(warped(0.3, 1)["b"].x, warped(0.3, 1)["b"].x)
    assert not torch.equal(warped(0.3, 1)["b"].x, warped(0.3, 2)["b"].x)
    mask = torch.tensor([[True, False], [False, False]])
    batch = Batch({"a": Tokens(mask[..., None].float(), mask)}, torch.zeros(2), ["", ""])
    found = warp(batch, 0.9, torch.Generator().manual_seed(0)).tokens["a"]
    assert torch.equal(found.mask, mask)
    assert torch.equal(found.x, batch.tokens["a"].x)


def test_scaling_has_one_factor_for_all_of_a_stream_and_another_for_the_next():
    batch = Batch({"a": counting(3, 4), "b": counting(3, 4)}, torch.zeros(300), [""] * 300)
    found = scale(batch, 0.2, torch.Generator().manual_seed(0)).tokens
    factors = {name: found[name].x[:, :3] / batch.tokens[name].x[:, :3] for name in "ab"}
    for factor in factors.values():
        torch.testing.assert_close(factor, factor[:, :1].expand_as(factor))
        assert factor.min().item() == pytest.approx(0.8, abs=0.01)
        assert factor.max().item() == pytest.approx(1.2, abs=0.01)
    assert not torch.allclose(factors["a"], factors["b"])


def test_a_spectrogram_becomes_louder_or_softer_as_a_whole():
    tokens = Tokens(torch.zeros(300, 4, 2), (torch.arange(4) < 3).expand(300, 4))
    drawn = SpecAugment(freq=0, time=0, gain=0.5)
    x, mask = hide_bands(tokens, drawn, torch.Generator().manual_seed(0))
    torch.testing.assert_close(x, x[:, :1, :1] * mask[..., None].expand(-1, -1, 2))
    assert x.min().item() == pytest.approx(-0.5, abs=0.01)
    assert x.max().item() == pytest.approx(0.5, abs=0.01)


def patches_of_four_frames() -> Batch:
    """Eight frames in three patches; of the second sample four. A token is 10 times its frame, and its patch."""
    x = torch.arange(8.0).repeat_interleave(3)[None, :, None] * 10 + torch.arange(3.0).repeat(8)[None, :, None]
    mask = torch.arange(24) < torch.tensor([[24], [12]])
    tokens = Tokens(x * mask[..., None], mask)
    return Batch({"a": tokens}, torch.zeros(2, dtype=torch.long), ["1", "2"])


@pytest.mark.parametrize("change", [crop, warp])
def test_patches_stay_in_their_places_of_a_frame(change) -> None:
    seen = []
    for seed in range(20):
        x, mask = change(patches_of_four_frames(), 0.9, torch.Generator().manual_seed(seed), {"a": 3}).tokens["a"]
        assert (mask.sum(1) % 3 == 0).all()
        frames = x.view(2, 8, 3)
        frames = frames[mask.view(2, 8, 3)[..., 0]]  # the real ones
        seen.append(frames[:, 0])
        torch.testing.assert_close(frames - frames[:, :1], torch.arange(3.0).expand_as(frames), atol=1e-4, rtol=0)
    assert len({tuple(first.tolist()) for first in seen}) > 5  # and frames were cut or moved
