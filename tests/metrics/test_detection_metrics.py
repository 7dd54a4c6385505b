"""Average precision against an implementation written another way, and by hand."""

import math

import pytest
import torch
from scipy.spatial import ConvexHull, HalfspaceIntersection

from sparsefuse.layers.points.nouns import Boxes
from sparsefuse.metrics.points import DetectionScores

CLASSES = ("bed", "chair", "lamp")


def boxes(entries):
    """Per scene a list of (row of 7, label, score), padded."""
    most = max(map(len, entries)) + 1
    made = [torch.zeros(len(entries), most, n) for n in (3, 3, 1, 1, 1)]
    mask = torch.zeros(len(entries), most, dtype=torch.bool)
    for scene, some in enumerate(entries):
        for i, (row, label, score) in enumerate(some):
            for part, values in zip(made, (row[:3], row[3:6], row[6:], [label], [score]), strict=True):
                part[scene, i] = torch.as_tensor(values)
            mask[scene, i] = True
    centre, size, yaw, label, score = made
    return Boxes(centre, size, yaw[..., 0], label[..., 0].long(), score[..., 0], mask)


def random_scenes(count, seed):
    """What is there, and for each of it a few boxes that are off by some, of any class, and noise."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high, n):
        return torch.rand(n, generator=generator) * (high - low) + low

    known, found = [], []
    for _ in range(count):
        truths, guesses = [], []
        for _ in range(int(uniform(0, 5, 1))):
            row = torch.cat([uniform(-3, 3, 3), uniform(0.5, 2, 3), uniform(-3, 3, 1)])
            label = int(uniform(0, 2, 1))  # there is no lamp
            truths.append((row, label, 1.0))
            for _ in range(int(uniform(0, 4, 1))):
                off = torch.randn(7, generator=generator) * torch.tensor([0.15] * 3 + [0.1] * 3 + [0.3])
                guesses.append((row + off, label if uniform(0, 1, 1) < 0.8 else 2, float(uniform(0, 1, 1))))
        row = torch.cat([uniform(-3, 3, 3), uniform(0.5, 2, 3), uniform(-3, 3, 1)])
        guesses.append((row, int(uniform(0, 3, 1)), float(uniform(0, 1, 1))))
        known.append(truths)
        found.append(guesses)
    return found, known


def planes(row):
    """(6, 4) a x + b y + c z + d <= 0 in the box."""
    x, y, z, length, width, height, yaw = (float(v) for v in row)
    axes = [(math.cos(yaw), math.sin(yaw), 0), (-math.sin(yaw), math.cos(yaw), 0), (0, 0, 1)]
    sides = zip(axes, (length, width, height), strict=True)
    return [
        [*(sign * a for a in axis), -sign * math.fsum(a * b for a, b in zip(axis, (x, y, z), strict=True)) - size / 2]
        for axis, size in sides
        for sign in (-1, 1)
    ]


def slow_overlap(a, b):
    """By half-spaces around a point that is deepest in both: sought on a grid, as there may be none."""
    both = torch.tensor(planes(a) + planes(b), dtype=torch.float64)
    steps = torch.linspace(-0.5, 0.5, 15, dtype=torch.float64)
    share = torch.cartesian_prod(steps, steps, steps) * torch.as_tensor(a[3:6], dtype=torch.float64)
    c, s = math.cos(a[6]), math.sin(a[6])
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    points = share @ turn.T + torch.as_tensor(a[:3], dtype=torch.float64)
    depth = (points @ both[:, :3].T + both[:, 3]).amax(1)
    if depth.min() >= -1e-6:
        return 0.0
    shared = ConvexHull(HalfspaceIntersection(both.numpy(), points[depth.argmin()].numpy()).intersections).volume
    return shared / (math.prod(map(float, a[3:6])) + math.prod(map(float, b[3:6])) - shared)


def slow_average_precision(found, known, label, threshold):
    """One box after another, then the area under the highest precision at or beyond each recall."""
    guesses = [(score, scene, row) for scene, some in enumerate(found) for row, c, score in some if c == label]
    guesses.sort(key=lambda guess: -guess[0])
    taken, total = set(), sum(c == label for some in known for _, c, _ in some)
    curve, hits = [], 0
    for count, (_, scene, row) in enumerate(guesses, 1):
        overlaps = [(slow_overlap(row, truth), i) for i, (truth, c, _) in enumerate(known[scene]) if c == label]
        best, which = max(overlaps, default=(0.0, None))
        if best > threshold and (scene, which) not in taken:
            taken.add((scene, which))
            hits += 1
        curve.append((hits / total, hits / count))
    area = 0.0
    for n in range(1, total + 1):  # the recall rises by 1 / total at each hit
        area += max((precision for recall, precision in curve if recall >= n / total - 1e-12), default=0) / total
    return area


def test_scores_are_those_of_a_slow_loop():
    found, known = random_scenes(12, 0)
    scores = DetectionScores(CLASSES)
    for part in (slice(0, 5), slice(5, 12)):
        scores.update(boxes(found[part]), boxes(known[part]))
    result = scores.compute()
    for name, threshold in (("25", 0.25), ("50", 0.5)):
        each = [slow_average_precision(found, known, label, threshold) for label in (0, 1)]
        assert min(each) > 0.1
        assert max(each) < 0.95
        assert [result[f"ap{name}_{c}"] for c in CLASSES[:2]] == pytest.approx(each, abs=1e-6)
        assert result[f"map{name}"] == pytest.approx(sum(each) / 2, abs=1e-6)
        assert f"ap{name}_lamp" not in result


CUBE = torch.tensor([0.0, 0, 0, 1, 1, 1, 0])
FAR = torch.tensor([9.0, 0, 0, 1, 1, 1, 0])


def map25(found, known):
    scores = DetectionScores(CLASSES)
    scores.update(boxes(found), boxes(known))
    return scores.compute()["map25"]


def test_scores_by_hand():
    truth = [(CUBE, 0, 1.0), (FAR, 0, 1.0)]
    both = [(CUBE, 0, 0.9), (FAR, 0, 0.8)]
    assert map25([both], [truth]) == 1
    assert map25([both[:1]], [truth]) == 0.5
    assert map25([[]], [truth]) == 0
    assert map25([[(CUBE, 1, 0.9)]], [truth]) == 0  # another class
    # the same box twice is wrong the second time: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    assert map25([[both[0], (CUBE, 0, 0.85), both[1]]], [truth]) == pytest.approx(0.5 + 0.5 * 2 / 3)
    # scored for every class: the wrong class is only behind
    assert map25([[*both, (CUBE, 1, 0.1), (FAR, 1, 0.1)]], [truth]) == 1
    # classes count alike, however many boxes they have
    assert map25([both], [[*truth, (CUBE, 1, 1.0)]]) == 0.5


def test_a_box_turned_by_an_eighth_is_not_the_same_box():
    long = torch.tensor([0.0, 0, 0, 4, 0.4, 1, 0])
    turned = torch.tensor([0.0, 0, 0, 4, 0.4, 1, math.pi / 2])
    assert map25([[(turned, 0, 1.0)]], [[(long, 0, 1.0)]]) == 0


def test_nothing_known_is_no_score():
    assert math.isnan(map25([[(CUBE, 0, 1.0)]], [[]]))
