"""Masked arrays: what is masked is not there, whatever number lies below the mask."""

import numpy as np
import pytest

from sparsefuse.data.columns import columns_of, streams_of
from sparsefuse.data.targets import Targets, targets_of


def test_masked_features_are_missing() -> None:
    values = np.ma.masked_array(np.arange(6).reshape(2, 3), mask=[[0, 0, 0], [0, 1, 0]])
    for given in (values, [values[0][None], values[1][None]]):
        with pytest.raises(ValueError, match="clip 1: 1 NaN among 3 values, the first at token 0, feature 1"):
            streams_of(columns_of(given))
    whole = streams_of(columns_of(np.ma.masked_array(values.data))).arrays["x"]
    assert [x.tolist() for x in whole if x is not None] == [[[0, 1, 2]], [[3, 4, 5]]]


def test_masked_labels_are_missing() -> None:
    with pytest.raises(ValueError, match="'label' of clip 1 is missing"):
        Targets(targets_of(np.ma.masked_array([0, 1, 0], mask=[0, 1, 0])))
    assert Targets(targets_of(np.ma.masked_array([0, 1, 0]))).texts == {"label": ["0", "1", "0"]}
