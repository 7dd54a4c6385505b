"""The interval of a share."""

import pytest

from sparsefuse.runs.summary import wilson


def test_wilsons_interval_is_the_textbooks() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I, method 3); and 0 and 1 are not certain."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1.0, 20) == pytest.approx((1 - 0.1611, 1.0), abs=5e-5)
