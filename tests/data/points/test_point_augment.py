"""Scenes change as a whole: points stay in their boxes and on their pixels, and nothing that was loaded changes."""

import math

import pytest
import torch

import tiny_points
from sparsefuse.config.points import Points
from sparsefuse.data.points.augment import augment, fixed, flipped, sampled, scaled, turned
from sparsefuse.data.points.batches import collate
from sparsefuse.data.points.load import load_clouds
from sparsefuse.data.points.scenes import CloudScene
from sparsefuse.layers.points.targets import owners

ALL = Points(flip=0.5, rotate=30.0, scale=(0.8, 1.25), jitter=0.01, num_points=64)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> CloudScene:
    manifest = tiny_points.write_clouds(tmp_path_factory.mktemp("clouds"), (2, 1, 1))
    return load_clouds(tiny_points.config(manifest)).splits["train"][0]


NONE = torch.zeros(0, dtype=torch.bool)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        lambda s: turned(s, 0.7),
        lambda s: scaled(s, 1.3, NONE),
        lambda s: turned(flipped(scaled(s, 0.8, NONE)), -2),
    ],
)
def test_points_stay_in_their_boxes_and_on_their_pixels(scene: CloudScene, change) -> None:
    done = change(scene)
    before, after = (owners(collate([s]).cloud, collate([s]).boxes, 1e-3) for s in (scene, done))
    assert before.inside.sum() >= 60
    assert torch.equal(before.box, after.box)
    assert torch.equal(before.inside, after.inside)
    assert before.apart[0].isfinite().any(1).equal(after.apart[0].isfinite().any(1))
    finite = before.apart.isfinite()
    assert torch.allclose(before.apart[finite], after.apart[finite], atol=1e-3)
    one, other = scene.cameras.project(scene.xyz), done.cameras.project(done.xyz)
    mirrored = not torch.equal(done.pictures[0], scene.pictures[0])
    uv = torch.stack([15 - one.uv[..., 0], one.uv[..., 1]], -1) if mirrored else one.uv
    assert torch.allclose(uv[one.visible], other.uv[one.visible], atol=1e-3)
    assert torch.equal(one.visible, other.visible)
    if mirrored:
        assert torch.equal(done.pictures[0].flip(1), scene.pictures[0])


def test_a_box_turns_with_its_scene_by_hand(scene: CloudScene) -> None:
    one = scene._replace(boxes=torch.tensor([[1.0, 2, 3, 4, 5, 6, 0.3]]), labels=torch.tensor([0]))
    assert turned(one, math.pi / 2).boxes[0].tolist() == pytest.approx([-2, 1, 3, 4, 5, 6, 0.3 + math.pi / 2], abs=1e-5)
    assert flipped(one).boxes[0].tolist() == pytest.approx([-1, 2, 3, 4, 5, 6, math.pi - 0.3], abs=1e-5)
    assert scaled(one, 2, NONE).boxes[0].tolist() == pytest.approx([2, 4, 6, 8, 10, 12, 0.3], abs=1e-5)


def test_heights_grow_with_their_points_and_colours_do_not(scene: CloudScene) -> None:
    one = scene._replace(x=torch.cat([torch.full((len(scene.xyz), 3), 0.5), scene.xyz[:, 2:]], 1))  # the floor is at 0
    grown = augment(one, Points(scale=(2.0, 2.0), channels=["color", "height"]), seeded(0))
    assert torch.equal(grown.xyz, 2 * one.xyz)
    assert torch.equal(grown.x[:, 3], 2 * one.xyz[:, 2])
    assert torch.equal(grown.x[:, :3], one.x[:, :3])


def test_changes_never_compound(scene: CloudScene) -> None:
    """The release edits arrays that it keeps, so that each epoch turns what the last one turned."""
    copies = [part.clone() for part in (scene.xyz, scene.boxes, *scene.pictures, *scene.cameras)]
    first = augment(scene, ALL, seeded(1))
    for points in (ALL, Points(flip=1.0), Points(rotate=30.0), Points(scale=(0.5, 0.9)), Points(jitter=0.1)):
        for seed in range(5):
            augment(scene, points, seeded(seed))
    for part, copy in zip((scene.xyz, scene.boxes, *scene.pictures, *scene.cameras), copies, strict=True):
        assert torch.equal(part, copy)
    again = augment(scene, ALL, seeded(1))
    assert torch.equal(first.xyz, again.xyz)
    assert torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.xyz, scene.xyz)
    sizes = torch.stack([augment(scene, ALL, seeded(seed)).boxes[:, 3:6] / scene.boxes[:, 3:6] for seed in range(50)])
    assert sizes.min() > 0.79
    assert sizes.max() < 1.26


def test_points_are_drawn_by_the_generator_and_the_same_ones_for_scores(scene: CloudScene) -> None:
    one, other = sampled(scene, 40, seeded(1)), sampled(scene, 40, seeded(2))
    assert len(one.xyz) == len({tuple(p) for p in one.xyz.tolist()}) == 40
    assert not torch.equal(one.xyz, other.xyz)
    assert torch.equal(fixed(scene, 40).xyz, fixed(scene, 40).xyz)
    assert torch.equal(sampled(scene, 1000, seeded(1)).xyz, scene.xyz)


def test_pictures_are_lost_as_often_as_asked(scene: CloudScene) -> None:
    kept = [len(augment(scene, Points(), seeded(s), dropout=0.3).pictures) for s in range(300)]
    assert set(kept) == {0, 2}
    assert 60 < kept.count(0) < 120
