"""The assignment problem against SciPy's."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sparsefuse.layers.points.assignment import assigned


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 3), (5, 9), (20, 20), (30, 100), (0, 4)])
@pytest.mark.parametrize("kind", ["uniform", "negative", "ties"])
def test_costs_are_the_least_there_are(rows, columns, kind):
    generator = np.random.default_rng(rows)
    for _ in range(5):
        cost = generator.uniform(-1 if kind == "negative" else 0, 1, (rows, columns))
        if kind == "ties":
            cost = np.round(cost * 3)
        found = assigned(cost)
        expected = linear_sum_assignment(cost)
        assert len(set(found.tolist())) == rows
        assert cost[np.arange(rows), found].sum() == pytest.approx(cost[expected].sum())


def test_more_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="got 3 rows and 2 columns"):
        assigned(np.zeros((3, 2)))
