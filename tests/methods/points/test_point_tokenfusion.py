"""TokenFusion's exchange, the penalty of its scores, and detectors that learn a scene by heart."""

import math

import pytest
import torch
from point_cases import SIZE, cloud, known, model_of, pictures

from sparsefuse.layers.points.exchange import PointExchange
from sparsefuse.layers.points.nouns import Boxes, Camera, Cloud
from sparsefuse.layers.points.views import tokens_at
from sparsefuse.methods.points import build, methods
from sparsefuse.metrics.points import DetectionScores

CASE = ("tokenfusion", {"threshold": 0.7})


def state_of(model, **kwargs):
    with torch.no_grad():
        return model(cloud(), *pictures(**kwargs)).state


def exchanged(model):
    """The first exchange, and the state before and after it."""
    seen = []
    layer = next(part for part in model.layers if isinstance(part, PointExchange))
    handle = layer.register_forward_hook(lambda _, inputs, after: seen.append((inputs[0], after)))
    state_of(model)
    handle.remove()
    return layer, *seen[0]


def test_seeds_of_low_score_that_a_picture_shows_are_replaced_and_no_others():
    layer, before, after = exchanged(model_of(CASE))
    with torch.no_grad():
        score = layer.score(before.seeds.x)
        shown, seen = tokens_at(before.views, before.seeds.xyz)
        projected = layer.project(shown)
    kinds = set()
    for scene in range(3):
        for i in range(before.seeds.mask.shape[1]):
            if not before.seeds.mask[scene, i]:
                continue
            low, visible = bool(score[scene, i] < 0.7), bool(seen[scene, i])
            expected = projected[scene, i] if low and visible else score[scene, i] * before.seeds.x[scene, i]
            torch.testing.assert_close(after.keys[scene, i], expected)
            assert bool(after.exchanges[-1].replaced[scene, i]) == (low and visible)
            kinds.add((low, visible))
    assert len(kinds) == 4, "some case never came up"


def test_every_layer_replaces_tokens_of_the_same_seeds():
    model = model_of(CASE)
    layers = [part for part in model.layers if isinstance(part, PointExchange)]
    seen = []
    for layer in layers:
        layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].seeds.x))
    state_of(model)
    assert len(seen) == 2
    assert seen[0].equal(seen[1])


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_shares_run_from_none_to_all(threshold):
    with torch.no_grad():
        outputs = model_of(CASE, threshold=threshold)(cloud(), *pictures())
    assert outputs.shares() == {"exchanged@1": threshold, "exchanged@2": threshold}


@pytest.mark.parametrize("detach", [True, False])
def test_pictures_learn_from_boxes_only_where_that_is_wanted(detach):
    model = model_of(CASE, detach=detach).train()
    losses = model.losses(model(cloud(), *pictures()), known())
    sum(loss for name, loss in losses.items() if name not in ("loss", "flat")).backward()
    grad = model.tokens.patches.weight.grad
    assert (grad is None or not grad.any()) == detach


def test_the_sum_of_scores_is_in_the_loss():
    model = model_of(CASE, target_share=None, score_penalty=0.5).train()
    outputs = model(cloud(), *pictures())
    exchanges = outputs.state.exchanges
    expected = 0.5 * sum(float(some.score.detach()[some.could].sum()) for some in exchanges) / 3
    losses = model.losses(outputs, known())
    assert losses["penalty"].item() == pytest.approx(expected, rel=1e-5)
    losses["penalty"].backward()
    layer = next(part for part in model.layers if isinstance(part, PointExchange))
    assert all(p.grad.abs().max() > 0 for p in layer.score.parameters())


@pytest.mark.slow
def test_a_target_share_is_reached():
    model = model_of(CASE, target_share=0.4, score_penalty=1.0).train()
    scores = [p for part in model.layers if isinstance(part, PointExchange) for p in part.score.parameters()]
    optimizer = torch.optim.Adam(scores, 1e-2)
    for _ in range(60):
        outputs = model(cloud(), *pictures())
        optimizer.zero_grad()
        model.losses(outputs, known())["penalty"].backward()
        optimizer.step()
    assert all(0.25 < share < 0.55 for share in outputs.shares().values())


@pytest.mark.slow
def test_pictures_alone_learn_where_objects_are():
    model = model_of(CASE).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = model.losses(model(cloud(), *pictures()), known())["flat"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.4 * losses[0]


def crates():
    """Two scenes of boxes whose class only their colour tells, measured from one place, and their pictures."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.tensor([[[-1.0, 3, 0], [1, 3.5, 0]], [[-0.8, 3.4, 0], [0.9, 3, 0]]])
    size, yaw = torch.tensor([0.8, 0.6, 1.0]).expand(2, 2, 3), torch.tensor([[0.3, 0], [0, -0.4]])
    label = torch.tensor([[0, 1], [1, 0]])
    boxes = Boxes(centre, size, yaw, label, torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool))
    own = (torch.rand(2, 2, 100, 3, generator=generator) - 0.5) * size[:, :, None]
    c, s = yaw.cos()[..., None], yaw.sin()[..., None]
    own = torch.stack([c * own[..., 0] - s * own[..., 1], s * own[..., 0] + c * own[..., 1], own[..., 2]], -1)
    floor = torch.rand(2, 100, 3, generator=generator) * torch.tensor([4.0, 3, 0]) + torch.tensor([-2.0, 2, -0.5])
    xyz = torch.cat([(own + centre[:, :, None]).flatten(1, 2), floor], 1)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]).repeat(2, 1, 1, 1)
    K = torch.tensor([[30.0, 0, 23.5], [0, 30, 15.5], [0, 0, 1]]).repeat(2, 1, 1, 1)
    x = torch.full((2, 1, 32, 48, 3), 0.5)
    for scene in range(2):
        for i in range(2):
            middle = int(23.5 + 30 * centre[scene, i, 0] / centre[scene, i, 1])
            x[scene, 0, 8:24, middle - 5 : middle + 6] = torch.eye(3)[label[scene, i]]
    cameras = Camera(K, pose, torch.tensor([[[32, 48]], [[32, 48]]]))
    return Cloud(xyz, xyz[..., :0], torch.ones(xyz.shape[:2], dtype=torch.bool)), x, cameras, boxes


@pytest.mark.slow
@pytest.mark.parametrize("method", methods())
def test_two_scenes_are_learned_by_heart(method):
    points, x, cameras, boxes = crates()
    torch.manual_seed(0)
    size = SIZE._replace(dim=32, hidden=64, proposals=24, picture=SIZE.picture._replace(dim=32, grid=(4, 6)))
    model = build(method, 0, 2, size=size, **({"detach": False} if method == "tokenfusion" else {}))
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=200)
    for _ in range(200):
        loss = model.train().losses(model(points, x, cameras), boxes)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        outputs = model.eval()(points, x, cameras)
    scores = DetectionScores(("red", "green"))
    scores.update(model.boxes(outputs, every_class=True), boxes)
    assert scores.compute()["map25"] > 0.99
    assert math.isfinite(loss.item())
