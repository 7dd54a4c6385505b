"""Tests of Triton are skipped where it is absent; a folder of its name would hide that from PyTorch.

Its interpreter is NumPy, which warns of what the rule for NaN asks for.
"""

import pytest

from sparsefuse.layers.ops import triton


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.name.startswith("test_triton_"):
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))
            if reason := triton.unavailable():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def device():
    return "cpu" if triton.interpreted() else "cuda"
