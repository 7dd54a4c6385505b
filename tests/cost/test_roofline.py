"""The floor: hand arithmetic on given rates, and rates that a device can have."""

import pytest
import torch

from sparsefuse.cost.roofline import Machine, machine


def test_the_slower_of_matrix_products_and_memory_is_the_floor() -> None:
    given = Machine(macs_per_second=1e9, bytes_per_second=1e6)
    assert given.floor_ms(2_000_000, 1000) == pytest.approx(2)  # 2 ms of products, 1 ms of copying
    assert given.floor_ms(2_000_000, 5000) == pytest.approx(5)


def test_a_device_is_measured_once() -> None:
    found = machine(torch.device("cpu"), 1)
    assert found is machine(torch.device("cpu"), 1)
    # A figure of another order would be an error in units: no core of 2010 to 2040 is outside these.
    assert 1e8 < found.macs_per_second < 1e13
    assert 1e8 < found.bytes_per_second < 1e13
