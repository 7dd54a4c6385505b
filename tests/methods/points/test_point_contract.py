"""What every detector keeps."""

import math

import pytest
import torch
from point_cases import BASE, CHANNELS, CLASSES, POINTS, SIZE, VARIED, case_id, cloud, known, model_of, pictures, said
from safetensors.torch import load, save

from sparsefuse.cost.count import multiply_adds
from sparsefuse.layers.points.nouns import Camera, Cloud
from sparsefuse.methods.points import build, fusions, methods

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(params=BASE + [pytest.param(case, marks=pytest.mark.slow) for case in VARIED], ids=case_id)
def case(request):
    return request.param


def part(inputs, scenes):
    """Some scenes of a cloud, pictures and cameras."""
    points, x, cameras = inputs
    return Cloud(*(v[scenes] for v in points)), x[scenes], Camera(*(v[scenes] for v in cameras))


def batch(**kwargs):
    return cloud(), *pictures(**kwargs)


def test_boxes_are_finite_and_as_many_as_proposals(case):
    model = model_of(case)
    with torch.no_grad():
        outputs = model(*batch())
    found, each = model.boxes(outputs), model.boxes(outputs, every_class=True)
    assert found.centre.shape == (3, 10, 3)
    assert each.centre.shape == (3, 30, 3)
    assert all(v.isfinite().all() for v in (*found[:3], found.score, each.score))
    assert (found.size >= 0).all()
    best = each.score.unflatten(1, (10, 3)).amax(2)
    torch.testing.assert_close(best, found.score)
    assert found.mask[2].sum() <= 9, "a scene of nine points has nine candidates at most"


def test_a_model_that_is_described_can_be_built_without_memory(case):
    """As every run folder is, before its weights are read."""
    name, options = case
    with torch.device("meta"):
        described = build(name, CHANNELS, CLASSES, **{"size": SIZE, **options}).state_dict()
    assert {key: x.shape for key, x in described.items()} == {
        key: x.shape for key, x in model_of(case).state_dict().items()
    }


def test_padding_does_not_change_boxes(case):
    model = model_of(case)
    plain = said(model, *batch())
    torch.testing.assert_close(said(model, cloud(extra=11), *pictures(extra=9))[:2], plain[:2], **CLOSE)


def test_a_scene_alone_has_the_boxes_it_has_in_a_batch(case):
    model, inputs = model_of(case), batch()
    together = said(model, *inputs)
    for i, count in enumerate(POINTS):
        points, x, cameras = part(inputs, slice(i, i + 1))
        there = (cameras.size[0] > 0).all(1)
        points = Cloud(*(v[:, :count] for v in points))
        if there.any():
            rows, columns = cameras.size[0].amax(0).tolist()
            cameras = Camera(*(v[:, there] for v in cameras))
            alone = said(model, points, x[:, there, :rows, :columns], cameras)
        else:
            alone = said(model, points)
        real = min(10, count)
        torch.testing.assert_close(alone[0, :real], together[i, :real], **CLOSE)


def test_the_order_of_pictures_does_not_matter(case):
    points, x, cameras = batch()
    model = model_of(case)
    turned = said(model, points, x.flip(1), Camera(*(v.flip(1) for v in cameras)))
    torch.testing.assert_close(turned[:2], said(model, points, x, cameras)[:2], **CLOSE)


def test_pictures_change_the_boxes_of_scenes_that_have_them(case):
    points, x, cameras = batch()
    model, other = model_of(case), pictures(seed=9)[0] * 9
    change = (said(model, points, other, cameras) - said(model, points, x, cameras)).abs().amax((1, 2))
    assert (change[:2] > 1e-4).tolist() == [case[0] in fusions()] * 2
    assert change[2] < 1e-5


def test_no_picture_is_as_pictures_that_are_all_missing(case):
    points, x, cameras = batch()
    model = model_of(case)
    none = cameras._replace(size=torch.zeros_like(cameras.size))
    assert said(model, points).equal(said(model, points, torch.full_like(x, math.nan), none))


def test_frames_limit_the_pictures_that_are_read(case):
    if case[0] == "points":
        return
    points, x, cameras = batch()
    first = Camera(*(v[:, :1] for v in cameras))
    model = model_of(case)
    model.frames = 1
    torch.testing.assert_close(said(model, points, x, cameras), said(model_of(case), points, x[:, :1], first), **CLOSE)
    model.frames = 0
    assert said(model, points, x, cameras).equal(said(model, points))


def test_every_parameter_has_a_gradient(case):
    model = model_of(case).train()
    outputs = model(*part(batch(), slice(0, 2)))
    boxes = type(known())(*(v[:2] for v in known()))
    losses = model.losses(outputs, boxes)
    torch.testing.assert_close(losses["loss"], sum(v for k, v in losses.items() if k != "loss"))
    losses["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_losses_are_finite_without_boxes_and_without_pictures(case):
    model = model_of(case).train()
    boxes = known()._replace(mask=torch.zeros(3, 2, dtype=torch.bool))
    for inputs in (batch(), (cloud(),)):
        for some in (boxes, type(boxes)(*(v[:, :0] for v in boxes))):
            loss = model.losses(model(*inputs), some)["loss"]
            loss.backward()
            assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_multiply_adds_are_counted_and_grow_with_pictures(case):
    model, (points, x, cameras) = model_of(case), batch()
    alone, both = (multiply_adds(lambda given=given: model(points, *given)) for given in ((), (x, cameras)))
    assert alone > 0
    assert (both > alone) == (case[0] in fusions())


def test_saved_weights_give_the_same_boxes(case):
    model, other = model_of(case), model_of(case, seed=7)
    other.load_state_dict(load(save(model.state_dict())))
    assert said(other, *batch()).equal(said(model, *batch()))


def test_inputs_that_do_not_fit_are_named():
    model, (points, x, cameras) = model_of(("tokenfusion", {})), batch()
    with pytest.raises(ValueError, match=r"a cloud must be .* \(B, N, 2\).* got"):
        model(points._replace(x=points.x[..., :1]))
    with pytest.raises(ValueError, match=r"scenes \[1\] of the batch have no point"):
        model(points._replace(mask=points.mask & torch.tensor([True, False, True])[:, None]))
    with pytest.raises(ValueError, match="resize the cameras with them"):
        model(points, x[:, :, :12, :16], cameras)
    with pytest.raises(ValueError, match="given together"):
        model(points, x)
    with pytest.raises(ValueError, match=r"pictures must be \(B, C, H, W, 3\)"):
        model(points, x[..., :1], cameras)


def test_options_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match="did you mean 'painted'"):
        build("paint", CHANNELS, 3)
    with pytest.raises(ValueError, match="unknown option of points 'frames'"):
        build("points", CHANNELS, 3, frames=2)
    with pytest.raises(ValueError, match="unknown size of detect 'tine'; did you mean 'tiny'"):
        build("points", CHANNELS, 3, size="tine")
    with pytest.raises(ValueError, match="layers must be 1 or more; got 0"):
        build("points", CHANNELS, 3, layers=0)
    with pytest.raises(ValueError, match="threshold must be from 0 to 1"):
        build("tokenfusion", CHANNELS, 3, size="tiny", threshold=2.0)
    assert methods() == ["late", "painted", "points", "tokenfusion"]


def test_sizes_take_fields():
    model = build("points", 0, 3, size={"like": "tiny", "dim": 32, "num_heads": 2}, layers=1, proposals=7)
    assert len(model.layers) == 1
    with torch.no_grad():
        xyz = cloud().xyz[:1]
        outputs = model(Cloud(xyz, xyz[..., :0], torch.ones(1, 60, dtype=torch.bool)))
    assert outputs.state.candidates.x.shape == (1, 7, 32)
