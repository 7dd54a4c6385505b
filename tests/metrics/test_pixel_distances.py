"""Distances of sets of pictures: equal to the obvious computation, unbiased, the same for the same sets."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from sparsefuse.metrics.distances import frechet_distance, kernel_distance


def features(n, *, dim=6, shift=0.0, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(shift, 1, (n, dim)) @ random.normal(0, 1, (dim, dim))).float()


def pairs(a, b):
    return np.array([[(float(x @ y) / len(x) + 1) ** 3 for y in b] for x in a])


def discrepancy(a, b):
    """Loop over all pairs but those of a picture with itself."""
    a, b = a.double(), b.double()
    own, others, across = pairs(a, a), pairs(b, b), pairs(a, b)
    n, m = len(a), len(b)
    mean = sum(own[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    mean += sum(others[i, j] for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return mean - 2 * across.mean()


def test_the_kernel_distance_is_that_of_a_loop_over_pairs():
    made, real = features(7), features(9, shift=0.5, seed=1)
    assert kernel_distance(made, real) == pytest.approx(discrepancy(made, real), rel=1e-9)


def test_more_pictures_are_compared_in_subsets_that_are_always_the_same():
    made, real = features(30), features(25, shift=0.5, seed=1)
    found = kernel_distance(made, real, subset=20, num_subsets=200)
    assert found == kernel_distance(made, real, subset=20, num_subsets=200)
    assert found != pytest.approx(discrepancy(made, real), rel=1e-6)
    assert found == pytest.approx(discrepancy(made, real), rel=0.05)  # both estimate the same


def test_the_kernel_distance_of_sets_of_one_kind_has_no_bias():
    """Mean over 200 pairs of sets of six; a biased one is far above: it counts (|x|^2 / D + 1)^3 of every picture."""
    random = torch.Generator().manual_seed(0)
    found = torch.tensor(
        [kernel_distance(*torch.randn(2, 6, 4, generator=random).unbind()) for _ in range(200)], dtype=torch.float64
    )
    assert abs(found.mean()) < 3 * found.std() / 200**0.5
    assert found.min() < 0


@pytest.mark.parametrize(("n", "m"), [(40, 30), (40, 3), (3, 4)])
def test_the_frechet_distance_is_that_of_a_matrix_root(n, m):
    """Of fewer pictures than there are numbers in a vector, too."""
    made, real = features(n), features(m, shift=0.7, seed=1)
    one, other = made.double().numpy(), real.double().numpy()
    root = sqrtm(np.cov(one.T) @ np.cov(other.T)).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(np.cov(one.T) + np.cov(other.T) - 2 * root)
    assert frechet_distance(made, real) == pytest.approx(expected, rel=1e-6)


def test_the_frechet_distance_of_two_lines_is_known():
    """Means 0 and 3, variances 1 and 4: 9 + (1 - 2)^2."""
    made = torch.tensor([[-1.0], [1.0]]) / 2**0.5
    real = torch.tensor([[-1.0], [1.0]]) * 2**0.5 + 3
    assert frechet_distance(made, real) == pytest.approx(10)


def test_a_set_is_at_no_distance_from_itself():
    same = features(20)
    assert frechet_distance(same, same) == pytest.approx(0, abs=1e-9)
    assert kernel_distance(same, same) < 0  # it has itself among the others
