"""Skips where Triton is absent. Its interpreter is NumPy, which warns of what the rule for NaN asks for."""

import pytest

from sparsefuse.layers.ops import triton


def pytest_collection_modifyitems(items):
    for item in items:
        if "/ops/triton/" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))
            if reason := triton.unavailable():
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def device():
    return "cpu" if triton.interpreted() else "cuda"
