"""Losses of detectors by hand."""

import math

import pytest
import torch

from sparsefuse.layers.points.heads import NUM_BINS, BoxHead, binned, yaw_of
from sparsefuse.layers.points.losses import Weights, box_losses, flat_losses, focal, generalised_iou, smooth
from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.picture import FlatBoxes
from sparsefuse.layers.points.state import BoxPredictions
from sparsefuse.layers.points.targets import FlatTargets, Wanted


def predictions(centre, size, yaw, label, *, sure=50.0, clusters=None):
    """One scene's, as sure as that."""
    bins, turns = binned(torch.tensor([yaw]))
    count = len(centre)
    logits = torch.nn.functional.one_hot(bins, NUM_BINS) * sure
    turn = torch.nn.functional.one_hot(bins, NUM_BINS) * turns[..., None]
    labels = torch.nn.functional.one_hot(torch.tensor([label]), 3) * sure
    clusters = torch.zeros(1, count, 0) if clusters is None else clusters
    sizes = torch.tensor([size])[:, :, None]
    return BoxPredictions(torch.full((1, count), sure), torch.tensor([centre]), logits, turn, clusters, sizes, labels)


def want(centre, size, yaw, label, there):
    return Wanted(*(torch.tensor([v]) for v in (there, centre, size, yaw, label)))


TRUTH = ([[0.0, 1, 2], [3, 4, 5]], [[1.0, 2, 3], [1, 1, 1]], [0.1, -3.0], [0, 2])
ALL = torch.ones(1, 2, dtype=torch.bool)


@pytest.mark.parametrize("yaw", [0.0, 0.26, 0.27, math.pi, -math.pi, 6.28, -0.1, 11.0])
def test_a_direction_is_a_bin_and_what_is_left(yaw):
    bins, turn = binned(torch.tensor(yaw, dtype=torch.float64))
    assert 0 <= int(bins) < NUM_BINS
    assert abs(float(turn)) <= 1
    back = float(yaw_of(predictions([[0.0] * 3], [[1.0] * 3], [yaw], [0]))[0, 0])
    assert math.cos(back - yaw) == pytest.approx(1, abs=1e-6)


def test_the_truth_costs_nothing():
    losses = box_losses(predictions(*TRUTH), want(*TRUTH, [1.0, 1.0]), torch.zeros(0, 3), ALL, Weights())
    assert set(losses) == {"objectness", "centre", "heading_bin", "heading", "label", "size"}
    assert all(float(v) < 1e-6 for v in losses.values())


def test_each_fault_costs_what_is_published():
    weights = Weights()
    off = ([[0.5, 1, 2], [3, 4, 5]], [[1.0, 2, 3], [1, 1, 1.01]], [0.1 + 0.02, -3.0], [0, 2])
    losses = box_losses(predictions(*off), want(*TRUTH, [1.0, 1.0]), torch.zeros(0, 3), ALL, weights)
    assert float(losses["centre"]) == pytest.approx((0.5 - 1 / 18) / 2)
    assert float(losses["size"]) == pytest.approx(0.01**2 / 2 / 2, rel=1e-3)  # times its delta
    turn = 0.02 / (math.pi / 12)
    assert float(losses["heading"]) == pytest.approx(0.04 * (turn - 0.02) / 2, rel=1e-3)


def test_candidates_without_an_object_are_not_asked_where_it_is():
    off = ([[9.0, 9, 9], [3, 4, 5]], [[9.0, 9, 9], [1, 1, 1]], [2.0, -3.0], [1, 2])
    losses = box_losses(predictions(*off), want(*TRUTH, [0.0, 1.0]), torch.zeros(0, 3), ALL, Weights())
    assert all(float(v) < 1e-6 for k, v in losses.items() if k != "objectness")
    assert float(losses["objectness"]) == pytest.approx(0.75 * 50 / 2, rel=1e-4)
    nothing = box_losses(predictions(*off), want(*TRUTH, [0.0, 0.0]), torch.zeros(0, 3), ALL, Weights())
    assert all(float(v) == 0 for k, v in nothing.items() if k != "objectness")


def test_usual_sizes_are_chosen_and_stretched():
    means = [[1.0, 2, 2], [4, 4, 4]]
    clusters = torch.tensor([[[9.0, 0], [9, 0]]])
    said = predictions(*TRUTH, clusters=clusters)
    said = said._replace(sizes=torch.tensor([[[[1.0, 2, 3], [9, 9, 9]], [[1, 1, 1], [9, 9, 9]]]]))
    assert said.size()[0].tolist() == [[1, 2, 3], [1, 1, 1]]
    losses = box_losses(said, want(*TRUTH, [1.0, 1.0]), torch.tensor(means), ALL, Weights())
    assert float(losses["size"]) == 0
    assert float(losses["size_cluster"]) == pytest.approx(0.1 * math.log(1 + math.exp(-9)), rel=1e-3)
    head = BoxHead(4, 3, means).eval()
    torch.nn.init.zeros_(head.out.weight)
    torch.nn.init.zeros_(head.out.bias)
    mask = torch.ones(1, 2, dtype=torch.bool)
    found = head(Cloud(torch.zeros(1, 2, 3), torch.randn(1, 2, 4), mask))
    assert found.sizes[0, 0].tolist() == means
    assert found.centre.eq(0).all()


def test_focal_loss_is_its_formula():
    logits, positive = torch.tensor([[0.3, -2.0, 4.0]]), torch.tensor([[1, 0, 0]])
    expected = []
    for x, y in zip(logits[0].tolist(), positive[0].tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        expected.append(-0.25 * (1 - p) ** 2 * math.log(p) if y else -0.75 * p**2 * math.log(1 - p))
    mask = torch.tensor([[True, True, False]])
    assert float(focal(logits, positive, mask)) == pytest.approx(sum(expected[:2]) / 2)
    assert smooth(torch.tensor([0.05, -1.0]), 0.1).tolist() == pytest.approx([0.0125, 0.95])


def test_generalised_overlap_by_hand():
    a = torch.tensor([0.25, 0.5, 0.5, 1])
    assert float(generalised_iou(a, a)) == pytest.approx(1)
    assert float(generalised_iou(a, torch.tensor([0.5, 0.5, 1, 1]))) == pytest.approx(0.5)
    assert float(generalised_iou(a, torch.tensor([0.875, 0.5, 0.25, 1]))) == pytest.approx(-0.25)


def test_each_object_of_a_picture_is_one_tokens():
    boxes = torch.tensor([[[0.2, 0.2, 0.1, 0.1], [0.7, 0.6, 0.2, 0.4], [0.5, 0.5, 0.9, 0.9]]])
    labels = torch.tensor([[[0.0, 0, 50], [50, 0, 0], [0, 50, 0]]])  # nothing, class 0, class 1
    targets = [FlatTargets(torch.tensor([1, 0]), boxes[0, [2, 1]])]
    assert float(flat_losses(FlatBoxes(labels, boxes), targets)) == pytest.approx(0, abs=1e-5)
    moved = [FlatTargets(torch.tensor([1, 0]), boxes[0, [2, 1]] + torch.tensor([0.1, 0, 0, 0]))]
    loss = float(flat_losses(FlatBoxes(labels, boxes), moved))
    overlaps = generalised_iou(boxes[0, [2, 1]], moved[0].box)
    assert loss == pytest.approx(5 * 0.2 / 2 + 2 * float((1 - overlaps).mean()), rel=1e-4)


def test_more_objects_than_tokens_and_none_at_all_are_finite():
    said = FlatBoxes(torch.randn(2, 3, 4, requires_grad=True), torch.rand(2, 3, 4))
    many = FlatTargets(torch.zeros(5, dtype=torch.long), torch.rand(5, 4))
    none = FlatTargets(torch.zeros(0, dtype=torch.long), torch.zeros(0, 4))
    assert flat_losses(said, [many, none]).isfinite()
    assert flat_losses(said, [none, none]).isfinite()
