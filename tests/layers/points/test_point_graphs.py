"""What an exported graph computes of points is what the layers compute."""

import pytest
import torch
from torch import nn

from sparsefuse.layers.points.grouping import ball_query
from sparsefuse.layers.points.mlp import PointMlp
from sparsefuse.layers.points.nouns import Cloud
from sparsefuse.layers.points.sampling import farthest_points
from sparsefuse.layers.points.set_abstraction import SetAbstraction

pytestmark = pytest.mark.slow  # the tracer alone takes seconds to load


class Traced(nn.Module):
    def __init__(self, compute, module=None):
        super().__init__()
        self.compute, self.module = compute, module

    def forward(self, *arguments):
        return tuple(self.compute(*arguments))


def graph(compute, *arguments, module=None):
    with torch.no_grad():
        return torch.export.export(Traced(compute, module).eval(), arguments, strict=False).module()


def cloud(seed=0):
    """Two scenes of 24 points, of which 24 and 7 are real; some are the same point."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randn(2, 24, 3, generator=generator)
    xyz[:, 10:12] = xyz[:, 5:7]
    mask = torch.arange(24) < torch.tensor([[24], [7]])
    return xyz, torch.randn(2, 24, 2, generator=generator), mask


def test_a_graph_samples_the_same_points():
    xyz, _, mask = cloud()
    traced = graph(lambda xyz, mask: farthest_points(xyz, mask, 9), xyz, mask)
    for seed in (0, 1):
        xyz, _, mask = cloud(seed)
        found, expected = traced(xyz, mask), farthest_points(xyz, mask, 9)
        assert found[1].equal(expected.mask)
        assert found[0][expected.mask].equal(expected.numbers[expected.mask])


def test_a_graph_finds_the_same_neighbours():
    xyz, _, mask = cloud()

    def query(xyz, mask):
        return ball_query(xyz, mask, xyz[:, :5], mask[:, :5], 1.2, 6)

    traced = graph(query, xyz, mask)
    found, expected = traced(xyz, mask), query(xyz, mask)
    assert expected.mask.any()
    assert not expected.mask.all()
    assert found[1].equal(expected.mask)
    assert found[0].equal(expected.numbers)


@pytest.mark.parametrize("kind", ["mlp", "abstraction"])
def test_a_graph_computes_the_same_of_points(kind):
    xyz, x, mask = cloud()
    torch.manual_seed(0)
    if kind == "mlp":
        module = PointMlp((2, 4, 3), bias=True)
        compute = lambda xyz, x, mask: (module(x, mask),)  # noqa: E731
    else:
        module = SetAbstraction(2, (4, 3), radius=1.2, most=6)
        compute = lambda xyz, x, mask: module(Cloud(xyz, x, mask), farthest_points(xyz, mask, 9))  # noqa: E731
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2)
    traced = graph(compute, xyz, x, mask, module=module.eval())
    with torch.no_grad():
        for found, expected in zip(traced(xyz, x, mask), compute(xyz, x, mask), strict=True):
            torch.testing.assert_close(found, expected)
