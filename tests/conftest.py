"""For all tests."""

import pytest
import torch

torch.set_num_threads(1)  # for what is made once for a whole file, before the first test


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever the test before has set: results depend on it in their last digits, and the tests share the machine."""
    torch.set_num_threads(1)
