"""Layers on clouds against loops over points."""

import itertools
import math

import pytest
import torch

from sparsefuse.layers.points.backbone import Level, PointNet2
from sparsefuse.layers.points.grouping import ball_query, interpolate
from sparsefuse.layers.points.mlp import PointMlp
from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.sampling import farthest_points
from sparsefuse.layers.points.set_abstraction import Propagation, SetAbstraction

REAL = (30, 17, 4)
"""real points of each scene of `cloud`"""
LEVELS = (Level(16, 0.5, 6, (8, 8)), Level(8, 0.8, 4, (8, 12)), Level(4, 1.2, 4, (8, 12)), Level(3, 2.0, 4, (8, 12)))


def cloud(channels=5, extra=0, seed=0):
    """Noise of three scenes, far from 0, with NaN where nothing is real: at the end, and in the second at the start."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.rand(3, max(REAL), 3, generator=generator) * 2 + 100
    x = torch.randn(3, max(REAL), channels, generator=generator)
    mask = torch.arange(max(REAL)) < torch.tensor(REAL)[:, None]
    mask[1] = mask[1].flip(0)
    pad = torch.nn.functional.pad
    mask = pad(mask, (0, extra))
    return Cloud(*(pad(v, (0, 0, 0, extra)).masked_fill(~mask[..., None], math.nan) for v in (xyz, x)), mask)


def distance(a, b):
    return math.dist(a.tolist(), b.tolist())


def test_farthest_points_are_those_of_a_loop():
    xyz, _, mask = cloud()
    numbers, real = farthest_points(xyz, mask, 12)
    for scene in range(3):
        points = mask[scene].nonzero()[:, 0].tolist()
        chosen = points[:1]
        while len(chosen) < min(12, len(points)):
            left = [p for p in points if p not in chosen]
            chosen.append(max(left, key=lambda p: min(distance(xyz[scene, p], xyz[scene, c]) for c in chosen)))
        assert numbers[scene, : len(chosen)].tolist() == chosen
        assert real[scene].tolist() == [True] * len(chosen) + [False] * (12 - len(chosen))


def test_points_at_one_place_are_each_chosen_once():
    numbers, real = farthest_points(torch.ones(1, 4, 3), torch.tensor([[True, True, False, True]]), 4)
    assert numbers[0, :3].sort().values.tolist() == [0, 1, 3]
    assert real.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("at_a_time", [1 << 23, 64])
def test_balls_hold_the_first_points_that_a_loop_finds(monkeypatch, at_a_time):
    monkeypatch.setattr("sparsefuse.layers.points.grouping.AT_A_TIME", at_a_time)
    xyz, _, mask = cloud()
    chosen = farthest_points(xyz, mask, 6)
    centres = torch.stack([xyz[s, chosen.numbers[s]] for s in range(3)])
    numbers, held = ball_query(xyz, mask, centres, chosen.mask, 0.8, 5)
    full = 0
    for scene in range(3):
        for k in range(6):
            found = [p for p in range(30) if mask[scene, p] and distance(xyz[scene, p], centres[scene, k]) < 0.8]
            found = found[:5] if chosen.mask[scene, k] else []
            assert numbers[scene, k][held[scene, k]].tolist() == found
            full += len(found) == 5
    assert full > 2, "the limit was never reached"


def test_values_between_points_are_those_of_a_loop():
    xyz, x, mask = cloud()
    few = torch.tensor([[0, 3, 5, 8, 9], [29, 27, 20, 19, 0], [1, 2, 8, 9, 10]])
    known, values, known_mask = (torch.stack([v[s, few[s]] for s in range(3)]) for v in (xyz, x, mask))
    found = interpolate(values.nan_to_num(7.0), known, known_mask, xyz)
    for scene in range(3):
        for p in range(30):
            if mask[scene, p]:
                near = [(distance(xyz[scene, p], known[scene, k]), k) for k in range(5) if known_mask[scene, k]]
                near = [(1 / (d + 1e-8), k) for d, k in sorted(near)[:3]]
                mean = sum(w * values[scene, k] for w, k in near) / sum(w for w, _ in near)
                torch.testing.assert_close(found[scene, p], mean, rtol=1e-4, atol=1e-5)


def test_set_abstraction_is_a_loop_over_neighbours():
    points, layer = cloud(), SetAbstraction(5, (7, 6), radius=0.8, most=5).eval()
    chosen = farthest_points(points.xyz, points.mask, 6)
    found = layer(points, chosen)
    xyz, x, mask = points
    with torch.no_grad():
        for scene in range(3):
            for k in range(6):
                if not chosen.mask[scene, k]:
                    assert found.x[scene, k].eq(0).all()
                    continue
                centre = xyz[scene, chosen.numbers[scene, k]]
                near = [p for p in range(30) if mask[scene, p] and distance(xyz[scene, p], centre) < 0.8][:5]
                seen = [layer.mlp.rows(torch.cat([(xyz[scene, p] - centre) / 0.8, x[scene, p]])[None]) for p in near]
                torch.testing.assert_close(found.x[scene, k], torch.cat(seen).amax(0))


def test_norms_are_of_the_real_points_alone():
    x, mask, mlp = cloud().x, cloud().mask, PointMlp([5, 4])
    found = mlp(x, mask)
    rows = x[mask] @ mlp.linears[0].weight.T
    expected = ((rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()).relu()
    torch.testing.assert_close(found[mask], expected)
    assert found[~mask].eq(0).all()
    torch.testing.assert_close(mlp.norms[0].running_mean, 0.1 * rows.mean(0))


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_no_seed(training):
    net = PointNet2(5, 10, LEVELS).train(training)
    plain, padded = net(cloud()), net(cloud(extra=9))
    assert plain.numbers.equal(padded.numbers)
    assert plain.cloud.mask.equal(padded.cloud.mask)
    torch.testing.assert_close(plain.cloud.x, padded.cloud.x)


def test_a_scene_alone_has_the_seeds_it_has_in_a_batch():
    net, batch = PointNet2(5, 10, LEVELS).eval(), cloud()
    together = net(batch).cloud
    for i in range(3):
        alone = net(Cloud(*(part[i : i + 1, batch.mask[i]] for part in batch))).cloud
        count = int(alone.mask.sum())
        torch.testing.assert_close(alone.x[0, :count], together.x[i, :count], rtol=1e-4, atol=1e-5)


def test_later_levels_have_the_points_that_sampling_would_choose():
    xyz, _, mask = cloud()
    order = farthest_points(xyz, mask, 16)
    chosen = torch.stack([xyz[s, order.numbers[s]] for s in range(3)])
    again = farthest_points(chosen, order.mask, 8)
    for i in range(3):
        count = int(again.mask[i].sum())
        assert again.numbers[i, :count].tolist() == list(range(count))


def test_every_weight_of_the_backbone_learns():
    net = PointNet2(5, 10, LEVELS)
    seeds = net(cloud())
    torch.manual_seed(0)
    (seeds.cloud.x * torch.randn(seeds.cloud.x.shape)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_the_published_backbone_has_as_many_weights_as_the_released_one():
    """By the widths in its code: SharedMLPs without biases, each with a norm's two."""
    widths = [
        (3 + 1, 64, 64, 128), (3 + 128, 128, 128, 256), (3 + 256, 128, 128, 256), (3 + 256, 128, 128, 256),
        (512, 256, 256), (512, 256, 288),
    ]  # fmt: skip
    expected = sum(a * b + 2 * b for chain in widths for a, b in itertools.pairwise(chain))
    assert sum(p.numel() for p in PointNet2(1).parameters()) == expected


def test_propagation_joins_what_both_levels_know():
    xyz, x, mask = cloud().zeroed()
    few = Cloud(xyz[:, :4], x[:, :4], mask[:, :4])
    layer = Propagation(10, (6,)).eval()
    found = layer(Cloud(xyz, x, mask), few)
    # a point that is known has its own values
    own = torch.cat([x[0, 2], x[0, 2]])
    torch.testing.assert_close(found.x[0, 2], layer.mlp.rows(own[None])[0], rtol=1e-4, atol=1e-5)
