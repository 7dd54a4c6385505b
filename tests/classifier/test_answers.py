"""Scores of answers, as scikit-learn's metrics have them."""

import math

import numpy as np
import pytest
from sklearn.metrics import r2_score

from sparsefuse.classifier.answers import score_of
from sparsefuse.data.labels import Labels
from sparsefuse.data.targets import Targets

NUMBERS = Labels.from_rows(["0.5", "1.5"], task="regression")


@pytest.mark.parametrize("truth", [[1.5, 0.5, 2.5], [0.1, 0.1, 0.1], [0.3, 0.3, 0.3]])
def test_r2_is_scikit_learns_where_labels_are_equal_too(truth: list[float]) -> None:
    found = np.array([0.1, 0.1, 0.1])
    assert score_of(found, Targets({"label": truth}), NUMBERS) == pytest.approx(r2_score(truth, found), abs=1e-12)


def test_r2_of_one_clip_is_not_defined(caplog: pytest.LogCaptureFixture) -> None:
    assert math.isnan(score_of(np.array([1.0]), Targets({"label": [1.5]}), NUMBERS))
    assert "not defined for one clip" in caplog.text
