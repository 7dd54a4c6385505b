"""The cost of a detector, counted: what pictures add, by hand, and nothing of what is not read."""

import torch

import tiny_points
from sparsefuse.cost.points import SceneSize, count_points, random_rooms
from sparsefuse.methods.points import build


def model_of(method: str, **options):
    torch.manual_seed(0)
    return build(method, 0, 2, size=tiny_points.SIZE, **options)


def test_pixels_of_painted_points_cost_their_convolutions() -> None:
    """5 x 5 of 3 -> 8 channels, then two of 1 x 1, for every pixel of every picture; the points cost the same."""
    model = model_of("painted", features=8)
    small, large = (count_points(model, SceneSize(64, 2, side, 24)).total for side in (16, 32))
    assert large - small == 2 * 16 * 24 * (25 * 3 * 8 + 2 * 8 * 8)


def test_a_picture_that_is_not_read_costs_nothing() -> None:
    for model in (model_of("points"), model_of("painted", frames=0)):
        assert count_points(model, SceneSize(64, 2, 16, 16)) == count_points(model, SceneSize(64, 0, 0, 0))
        assert random_rooms(model, SceneSize(64, 2, 16, 16), 1).pictures is None


def test_the_same_rooms_are_counted_each_time_and_the_model_stays() -> None:
    model = model_of("tokenfusion").train()
    size = SceneSize(64, 1, 16, 16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert count_points(model, size) == count_points(model, size)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert count_points(model, size).parameters == sum(p.numel() for p in model.parameters())
    assert count_points(model, size).total < count_points(model, size._replace(frames=2)).total


def test_rooms_lie_before_their_cameras() -> None:
    inputs = random_rooms(model_of("painted"), SceneSize(200, 2, 24, 32), 3)
    assert inputs.cameras is not None
    assert inputs.cameras.project(inputs.cloud.xyz[:, None]).visible.float().mean() > 0.5
