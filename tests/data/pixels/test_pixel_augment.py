"""Augmentation of scenes: one geometry for all pictures, the rest by stream."""

import dataclasses

import pytest
import torch

from sparsefuse.config.pixels import PictureStream, Pixels
from sparsefuse.data.pixels.augment import augment
from sparsefuse.data.pixels.scenes import Scene

STREAMS = {"a": PictureStream("color"), "b": PictureStream("gray"), "d": PictureStream("depth", unit=0.001)}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def coordinates(height=24, width=32):
    """A scene whose pictures all say where each pixel was: row in a, column in b, both in depth's metres and label."""
    rows = (torch.arange(height) + 1.0)[:, None].expand(height, width)
    columns = (torch.arange(width) + 1.0)[None].expand(height, width)
    fields = {
        "a": torch.stack([rows, columns, torch.ones_like(rows)], -1),
        "b": columns[..., None].clone(),
        "d": torch.stack([rows, torch.ones_like(rows)], -1),
    }
    return Scene("s", fields, (100 * rows + columns).long())


@pytest.mark.parametrize("scale", [(2.0, 2.0), (1.0, 3.0), (0.5, 0.5), (0.4, 1.0)])
def test_all_pictures_show_the_same_part(scale):
    pixels = Pixels(scale=scale, flip=0.5, ignore=-1)
    for seed in range(10):
        scene = augment(coordinates(), STREAMS, pixels, seeded(seed))
        real = scene.target != -1
        rows, columns = torch.div(scene.target, 100, rounding_mode="floor"), scene.target % 100
        assert scene.target.shape == (24, 32)
        assert {x.shape[:2] for x in scene.fields.values()} == {(24, 32)}
        inside = real & (scene.fields["d"][..., 1] > 0)
        assert inside.sum() >= 0.15 * real.numel()
        tolerance = 0.5 + 1 / min(scale)  # a label is of the nearest pixel, the others of several around
        for found, truth in [
            (scene.fields["a"][..., 0], rows), (scene.fields["a"][..., 1], columns),
            (scene.fields["b"][..., 0], columns), (scene.fields["d"][..., 0], rows),
        ]:  # fmt: skip
            assert (found - truth)[inside].abs().max() <= tolerance
        empty = ~real
        assert not scene.fields["a"][empty].any()
        assert not scene.fields["d"][empty].any()


def test_enlarging_shows_a_part_and_shrinking_leaves_a_border():
    enlarged = augment(coordinates(), STREAMS, Pixels(scale=(2.0, 2.0)), seeded(0)).target
    assert int(enlarged.max() // 100 - enlarged.min() // 100) == 11  # 12 rows of 24
    assert not (enlarged == 255).any()
    shrunk = augment(coordinates(), STREAMS, Pixels(scale=(0.5, 0.5)), seeded(0)).target
    assert int((shrunk != 255).sum()) == 12 * 16


def test_windows_reach_every_edge():
    pixels = Pixels(scale=(2.0, 2.0))
    targets = [augment(coordinates(), STREAMS, pixels, seeded(seed)).target for seed in range(60)]
    assert {int(target.min() // 100) for target in targets} == set(range(1, 14))


def test_a_mirror_swaps_columns_and_turns_normals():
    x = torch.zeros(1, 3, 3)
    x[0, 0] = torch.tensor([0.6, 0.0, 0.8])
    scene = Scene("s", {"n": x}, torch.tensor([[1, 2, 3]]))
    done = augment(scene, {"n": PictureStream("normal")}, Pixels(flip=1.0), seeded(0))
    assert done.target.tolist() == [[3, 2, 1]]
    torch.testing.assert_close(done.fields["n"][0, 2], torch.tensor([-0.6, 0.0, 0.8]))
    target = Scene("s", {}, x)
    done = augment(target, {}, Pixels(flip=1.0, target=PictureStream("normal")), seeded(0))
    torch.testing.assert_close(done.target[0, 2], torch.tensor([-0.6, 0.0, 0.8]))


def test_jitter_is_of_its_stream_and_of_measured_depth_only():
    scene = coordinates()
    scene.fields["d"][:5] = 0
    for change in ({"brightness": 0.5}, {"contrast": 0.5}, {"noise": 0.5}):
        streams = STREAMS | {"d": dataclasses.replace(STREAMS["d"], **change)}
        done = augment(scene, streams, Pixels(), seeded(1))
        assert torch.equal(done.fields["a"], scene.fields["a"])
        assert not done.fields["d"][:5].any()
        assert torch.equal(done.fields["d"][..., 1], scene.fields["d"][..., 1])
        assert not torch.equal(done.fields["d"][5:, :, 0], scene.fields["d"][5:, :, 0])


def test_contrast_keeps_the_mean_and_brightness_the_distances():
    scene = coordinates()
    contrast = augment(scene, {**STREAMS, "b": PictureStream("gray", contrast=0.5)}, Pixels(), seeded(1)).fields["b"]
    torch.testing.assert_close(contrast.mean(), scene.fields["b"].mean())
    ratio = contrast.std() / scene.fields["b"].std()
    assert 0.5 <= ratio <= 1.5
    assert ratio != 1
    light = augment(scene, {**STREAMS, "b": PictureStream("gray", brightness=0.5)}, Pixels(), seeded(1)).fields["b"]
    torch.testing.assert_close((light - scene.fields["b"]).std(), torch.tensor(0.0), atol=1e-5, rtol=0)


def test_a_hole_is_a_rectangle_of_one_stream():
    done = augment(coordinates(), STREAMS, Pixels(holes=1.0), seeded(3))
    for name, x in done.fields.items():
        hole = (x == 0).all(-1)
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns, name
        assert 6 <= rows <= 12
        assert 8 <= columns <= 16
    assert (done.target == coordinates().target).all()
    share = sum(
        bool((x == 0).all(-1).any())
        for seed in range(200)
        for x in augment(coordinates(8, 8), STREAMS, Pixels(holes=0.25), seeded(seed)).fields.values()
    )
    assert 110 <= share <= 190  # 150 of 600, four deviations


def test_streams_are_dropped_but_never_all():
    kept = [augment(coordinates(4, 4), STREAMS, Pixels(), seeded(s), dropout=0.6).fields for s in range(300)]
    assert min(map(len, kept)) == 1
    # a stays if its draw is >= .6, or all three are below and it is the largest: .4 + .6^3 / 3
    assert abs(sum("a" in fields for fields in kept) / 300 - 0.472) < 0.12


def test_unknown_depth_of_a_target_stays_unknown():
    target = torch.zeros(4, 4, 1)
    target[0] = torch.nan
    done = augment(Scene("s", {}, target), {}, Pixels(scale=(0.5, 0.5)), seeded(0)).target
    assert int(done.isnan().sum()) == 16 - 4  # the unknown first row is not next to a centre
    assert not done.nan_to_num(0).any()


def test_the_generator_alone_decides():
    pixels = Pixels(scale=(0.5, 2.0), flip=0.5, holes=0.5)
    streams = STREAMS | {"a": PictureStream("color", noise=1.0)}
    one, same, other = (augment(coordinates(), streams, pixels, seeded(s), dropout=0.3) for s in (5, 5, 6))
    assert torch.equal(one.target, same.target)
    assert all(torch.equal(x, same.fields[name]) for name, x in one.fields.items())
    assert not torch.equal(one.target, other.target)


def test_without_settings_a_scene_stays_as_it_is():
    scene = coordinates()
    done = augment(scene, STREAMS, Pixels(), seeded(0))
    assert all(done.fields[name] is x for name, x in scene.fields.items())
    assert done.target is scene.target
