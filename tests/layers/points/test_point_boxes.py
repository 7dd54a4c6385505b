"""Overlaps of boxes against hulls of points, sampling and cases by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from sparsefuse.layers.points.boxes import axis_aligned_iou, corners, extents, iou, rows
from sparsefuse.layers.points.nms import suppress
from sparsefuse.layers.points.nouns import Boxes


def random_boxes(count, seed, spread=1.0):
    generator = np.random.default_rng(seed)
    box = np.concatenate(
        [
            generator.uniform(-spread, spread, (count, 3)),
            generator.uniform(0.2, 2.0, (count, 3)),
            generator.uniform(-4, 4, (count, 1)),
        ],
        1,
    )
    return torch.from_numpy(box)


def rectangle(box):
    """The corners seen from above, from complex numbers."""
    x, y, _, length, width, _, yaw = box
    turn = complex(math.cos(yaw), math.sin(yaw))
    ends = [
        complex(a * length / 2, b * width / 2) * turn + complex(x, y) for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1))
    ]
    return [(end.real, end.imag) for end in ends]


def holds(box, point):
    x, y, _, length, width, _, yaw = box
    away = complex(point[0] - x, point[1] - y) * complex(math.cos(yaw), -math.sin(yaw))
    return abs(away.real) <= length / 2 and abs(away.imag) <= width / 2


def meeting(p, q, r, s):
    """Where the sides p-q and r-s cross, if they do."""
    (dx, dy), (ex, ey) = np.subtract(q, p), np.subtract(s, r)
    det = dx * ey - dy * ex
    if det == 0:
        return None
    wx, wy = np.subtract(r, p)
    t, u = (wx * ey - wy * ex) / det, (wx * dy - wy * dx) / det
    return (p[0] + t * dx, p[1] + t * dy) if 0 <= t <= 1 and 0 <= u <= 1 else None


def slow_iou(a, b):
    """The hull of all corners of one in the other, and of all places where their sides cross: no clipping."""
    a, b = a.tolist(), b.tolist()
    ra, rb = rectangle(a), rectangle(b)
    points = [p for p in ra if holds(b, p)] + [p for p in rb if holds(a, p)]
    sides = [list(zip(r, r[1:] + r[:1], strict=True)) for r in (ra, rb)]
    points += [m for (p, q), (r, s) in itertools.product(*sides) if (m := meeting(p, q, r, s)) is not None]
    area = ConvexHull(points).volume if len(points) > 2 else 0.0
    tall = max(0.0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
    return area * tall / (math.prod(a[3:6]) + math.prod(b[3:6]) - area * tall)


def test_overlaps_are_those_of_hulls():
    a, b = random_boxes(12, 0), random_boxes(12, 1)
    expected = torch.tensor([[slow_iou(x, y) for y in b] for x in a], dtype=torch.float64)
    assert (expected > 0.05).sum() > 20
    torch.testing.assert_close(iou(a, b), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(iou(a.float(), b.float()), expected.float(), rtol=0, atol=1e-5)


def test_overlaps_do_not_depend_on_where_the_world_begins():
    a, b = random_boxes(10, 2), random_boxes(10, 3)
    far = torch.tensor([300.0, -200, 50, 0, 0, 0, 0])
    torch.testing.assert_close(iou(a + far, b + far), iou(a, b), rtol=0, atol=1e-9)


def test_overlaps_are_those_of_sampled_points():
    a, b = random_boxes(6, 4, spread=0.4), random_boxes(6, 5, spread=0.4)
    share = np.random.default_rng(0).uniform(-0.5, 0.5, (40_000, 3))
    for first in a:
        x, y, z, length, width, height, yaw = first.tolist()
        inner = share * (length, width, height)
        flat = (inner[:, 0] + 1j * inner[:, 1]) * np.exp(1j * yaw) + complex(x, y)
        for second, found in zip(b.tolist(), iou(first[None], b)[0].tolist(), strict=True):
            away = (flat - complex(*second[:2])) * np.exp(-1j * second[6])
            tall = abs(inner[:, 2] + z - second[2]) < second[5] / 2
            both = (abs(away.real) < second[3] / 2) & (abs(away.imag) < second[4] / 2) & tall
            shared = both.mean() * length * width * height
            assert found == pytest.approx(
                shared / (length * width * height + math.prod(second[3:6]) - shared), abs=1e-2
            )


BOX = [1.0, 2, 3, 2, 1, 1, 0.3]
EIGHTH = math.pi / 4


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (BOX, BOX, 1),
        (BOX, [*BOX[:6], 0.3 + math.pi], 1),  # turned by half
        (BOX, [1, 2, 3, 1, 2, 1, 0.3 + math.pi / 2], 1),  # the same box by another name
        ([0, 0, 0, 2, 2, 2, 0], [0, 0, 0, 1, 1, 1, 0.7], 1 / 8),  # one in the other
        ([0, 0, 0, 2, 2, 1, 0], [0, 0, 0, 2, 2, 1, EIGHTH], 1 / math.sqrt(2)),  # an octagon
        ([0, 0, 0, 2, 2, 1, 0], [2, 0, 0, 2, 2, 1, 0], 0),  # they touch
        ([0, 0, 0, 2, 2, 1, 0], [0, 0, 1, 2, 2, 1, 0], 0),  # one stands on the other
        ([0, 0, 0, 2, 2, 2, 0], [1, 0, 0, 2, 2, 2, 0], 1 / 3),
        ([0, 0, 0, 2, 2, 2, 0], [0, 0, 0, 2, 0, 2, 0.4], 0),  # flat
        ([0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0], 0),  # nothing
        ([0, 0, 0, 2, 2, 2, 0], [9, 9, 9, 2, 2, 2, 0], 0),
    ],
)
def test_overlaps_by_hand(a, b, expected):
    a, b = (torch.tensor([box], dtype=torch.float64) for box in (a, b))
    assert float(iou(a, b)) == pytest.approx(expected, abs=1e-12)
    assert float(iou(b, a)) == pytest.approx(expected, abs=1e-12)


def test_corners_are_where_they_are_by_hand():
    found = corners(torch.tensor([[1.0, 2, 3, 4, 2, 6, math.pi / 2]]))[0]
    below = [[0, 4, 0], [0, 0, 0], [2, 0, 0], [2, 4, 0]]
    torch.testing.assert_close(found, torch.tensor([*below, *([x, y, 6] for x, y, _ in below)], dtype=torch.float32))


def test_extents_hold_all_corners_and_no_more():
    box = random_boxes(20, 6)
    ends = corners(box)
    low, high = ends.amin(1), ends.amax(1)
    torch.testing.assert_close(extents(box)[:, :3], (low + high) / 2)
    torch.testing.assert_close(extents(box)[:, 3:6], high - low)
    square = torch.tensor([[0, 0, 0, 2, 2, 1, EIGHTH]])
    assert float(axis_aligned_iou(square, torch.tensor([[0, 0, 0, 2, 2, 1, 0.0]]))) == pytest.approx(0.5)
    flat = torch.cat([box[:, :6], torch.zeros(20, 1)], 1)
    torch.testing.assert_close(axis_aligned_iou(flat, flat), iou(flat, flat))


@pytest.mark.parametrize("oriented", [True, False])
def test_what_stays_is_what_a_loop_leaves(oriented):
    box = random_boxes(60, 7, spread=1.5).float().unflatten(0, (2, 30))
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (2, 30), generator=generator)
    score = torch.rand(2, 30, generator=generator)
    mask = torch.rand(2, 30, generator=generator) < 0.8
    given = Boxes(box[..., :3], box[..., 3:6], box[..., 6], label, score, mask)
    found = suppress(given, 0.2, oriented=oriented).mask
    assert rows(given).equal(box)
    for scene in range(2):
        stay = []
        for i in sorted(range(30), key=lambda i: -float(score[scene, i])):
            if mask[scene, i]:
                measure = iou if oriented else axis_aligned_iou
                rivals = [k for k in stay if label[scene, k] == label[scene, i]]
                if all(float(measure(box[scene, i, None], box[scene, k, None])) <= 0.2 for k in rivals):
                    stay.append(i)
        assert found[scene].nonzero()[:, 0].tolist() == sorted(stay)
        assert len(stay) < int(mask[scene].sum())
