"""Points are turned and mirrored as they were before normalisation; expected values by hand and by slow loops."""

import math

import pytest
import torch

from sparsefuse.config import Axes, Data
from sparsefuse.data.axes import check_axes, turn
from sparsefuse.data.stats import Stats
from sparsefuse.tokens import Batch, Tokens

NEVER, ALWAYS = 0.0, 1.0


def noise(samples: int, features: int, seed: int) -> Tokens:
    """Three tokens and one of padding."""
    x = torch.randn(samples, 4, features, generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(4) < 3).expand(samples, 4)
    return Tokens(x * mask[..., None], mask)


def turned(streams: dict[str, Tokens], stats: Stats | None = None, seed: int = 0, **options) -> dict[str, torch.Tensor]:
    count = len(next(iter(streams.values())).x)
    batch = Batch(streams, torch.zeros(count), [""] * count)
    found = turn(batch, Data(**options), stats, torch.Generator().manual_seed(seed)).tokens
    for name, (x, mask) in found.items():
        assert torch.equal(mask, streams[name].mask)
        assert not x[~mask].any()
    return {name: tokens.x for name, tokens in found.items()}


def points(x: torch.Tensor, size: int = 3) -> torch.Tensor:
    """(B, tokens * points, size) without padding."""
    return x[:, :3].reshape(len(x), -1, size)


def test_a_rotation_keeps_lengths_angles_and_the_hand_of_the_axes() -> None:
    before = noise(200, 6, 0)
    after = turned({"a": before}, axes={"a": Axes()}, rotate=40.0)["a"]
    one, other = points(before.x), points(after)
    assert not torch.allclose(one, other, atol=0.1)
    torch.testing.assert_close(other @ other.mT, one @ one.mT, atol=1e-4, rtol=1e-4)
    triple = [torch.linalg.det(p[:, :3]) for p in (one, other)]
    torch.testing.assert_close(triple[1], triple[0], atol=1e-4, rtol=1e-3)


def test_angles_are_uniform_up_to_the_largest_and_the_axis_stays() -> None:
    """About y a point on it stays, and one on x goes round: by up to 30 degrees, either way."""
    x = torch.tensor([0.0, 1, 0, 1, 0, 0]).expand(2000, 1, 6)
    tokens = Tokens(x, torch.ones(2000, 1, dtype=torch.bool))
    found = turned({"a": tokens}, axes={"a": Axes(about="y")}, rotate=30.0)["a"][:, 0]
    torch.testing.assert_close(found[:, :3], x[:, 0, :3])
    angles = torch.atan2(-found[:, 5], found[:, 3]).rad2deg()  # z turns to x, x to -z
    torch.testing.assert_close(found[:, 3].square() + found[:, 5].square(), torch.ones(2000))
    assert angles.abs().max().item() == pytest.approx(30, abs=0.2)
    assert angles.abs().mean().item() == pytest.approx(15, abs=0.6)  # three standard errors
    assert (angles > 0).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_a_rotation_is_of_the_features_before_normalisation() -> None:
    raw = noise(20, 3, 1)
    mean, std = torch.tensor([5.0, -2.0, 0.5]), torch.tensor([0.1, 3.0, 1.0])
    stats = Stats({"a": mean}, {"a": std})
    given = Tokens((raw.x - mean) / std * raw.mask[..., None], raw.mask)
    options = {"axes": {"a": Axes()}, "rotate": 60.0}
    expected = turned({"a": raw}, **options)["a"]
    found = turned({"a": given}, stats, **options)["a"]
    torch.testing.assert_close(points(found * std + mean), points(expected), atol=1e-4, rtol=1e-4)


def test_in_two_dimensions_a_quarter_turn_is_known() -> None:
    before = noise(300, 4, 2)
    after = turned({"a": before}, axes={"a": Axes(size=2)}, rotate=90.0)["a"]
    one, other = points(before.x, 2), points(after, 2)
    angle = torch.atan2(other[..., 1], other[..., 0]) - torch.atan2(one[..., 1], one[..., 0])
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(angle, angle[:, :1].expand_as(angle), atol=1e-3, rtol=0)
    assert angle.abs().max().item() == pytest.approx(math.pi / 2, abs=0.05)


def test_a_mirror_reverses_one_axis_swaps_pairs_and_turns_angular_velocities_the_other_way() -> None:
    """By hand: a vector (x, y, z) becomes (-x, y, z); of a gyroscope, x stays, and y and z change sign."""
    x = torch.tensor([[[1.0, 2, 3, 4, 5, 6, 7, 8, 9]]])
    tokens = {"a": Tokens(x, torch.ones(1, 1, dtype=torch.bool))}
    axes = Axes(axial=[1], swap=[(0, 2)])
    assert turned(tokens, axes={"a": axes}, mirror=ALWAYS)["a"].flatten().tolist() == [-7, 8, 9, 4, -5, -6, -1, 2, 3]
    other = Axes(across="z")
    assert turned(tokens, axes={"a": other}, mirror=ALWAYS)["a"].flatten().tolist() == [1, 2, -3, 4, 5, -6, 7, 8, -9]
    assert torch.equal(turned(tokens, axes={"a": axes}, mirror=NEVER)["a"], x)


def test_angular_velocity_of_a_mirrored_movement_is_that_of_the_mirrored_points() -> None:
    """v = w x r holds after rotation and mirror too, by the cross product of what came out."""
    r, w = noise(50, 3, 3), noise(50, 3, 4)
    v = torch.cross(w.x, r.x, dim=2)
    together = Tokens(torch.cat([r.x, w.x, v], 2), r.mask)
    found = turned({"a": together}, axes={"a": Axes(axial=[1], across="y")}, rotate=50.0, mirror=0.5)["a"]
    r, w, v = found.split(3, dim=2)
    torch.testing.assert_close(torch.cross(w, r, dim=2), v, atol=1e-4, rtol=1e-4)


def test_streams_of_a_frame_turn_together_and_all_are_mirrored_at_once() -> None:
    same = noise(100, 3, 5)
    streams = {"a": same, "b": same, "c": same, "d": same}
    axes = {"a": Axes(frame="wrist"), "b": Axes(frame="wrist"), "c": Axes(), "d": Axes()}
    found = turned(streams, axes=axes, rotate=30.0)
    assert torch.equal(found["a"], found["b"])
    assert not torch.allclose(found["a"], found["c"], atol=0.1)
    assert not torch.allclose(found["c"], found["d"], atol=0.1)
    flipped = turned(streams, axes=axes, mirror=0.5)
    for name in "bcd":
        assert torch.equal(flipped[name], flipped["a"])
    share = (points(flipped["a"])[..., 0] == -points(same.x)[..., 0]).all(1).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.15)


def test_turns_follow_the_generator() -> None:
    streams, options = {"a": noise(5, 3, 6)}, {"axes": {"a": Axes()}, "rotate": 30.0, "mirror": 0.5}
    one, same, other = (turned(streams, seed=seed, **options)["a"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rotate": 9.0}, r"data.rotate is 9.0, but data.axes says of no modality .* \{a: \{size: 3\}\}"),
        ({"axes": {"a": Axes()}}, "data.axes: 'a' has points of 3 axes and 8 features; expected 2 or 3"),
        ({"axes": {"a": Axes(size=4)}}, "has points of 4 axes and 8 features; expected 2 or 3"),
        ({"axes": {"a": Axes(size=0)}}, "has points of 0 axes"),
        ({"axes": {"b": Axes(axial=[2])}}, "data.axes: 'b' names point 2; it has 2, counted from 0"),
        ({"axes": {"b": Axes(swap=[(0, -1)])}}, "names point -1"),
        ({"axes": {"a": Axes(size=2, across="z")}}, "need points of 3 axes; it has 2"),
    ],
)
def test_axes_that_the_features_do_not_have_are_an_error(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_axes(Data(**given), {"a": 8, "b": 6})
