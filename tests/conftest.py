"""For all tests."""

import itertools
import os

import pytest
import torch

from sparsefuse import measure

os.environ["TORCH_FAKE_TENSOR_DISPATCH_CACHE"] = "0"  # read by torch._dynamo; it hardly hits, and doubles torch.export
torch.set_num_threads(1)  # for what is made once for a whole file, before the first test


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever the test before has set: results depend on it in their last digits, and the tests share the machine."""
    torch.set_num_threads(1)


@pytest.fixture
def made_up_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency and memory, which take a second a model to measure, are numbers that differ from call to call."""
    calls = itertools.count(1)

    def measured(*_: object) -> measure.Measured:
        return measure.Measured(*[next(calls)] * 7, batch=measure.BATCH)

    for place in ("measure", "run", "budget.finals"):
        monkeypatch.setattr(f"sparsefuse.{place}.measure", measured)
