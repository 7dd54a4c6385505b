"""For all tests."""

import functools
import gc
import itertools
import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import torch

from long import LONG
from sparsefuse import extras
from sparsefuse.cost import measure
from sparsefuse.files import whole
from sparsefuse.layers import ops
from sparsefuse.once import log_once
from sparsefuse.training import setup

os.environ["TORCH_FAKE_TENSOR_DISPATCH_CACHE"] = "0"  # read by torch._dynamo; it hardly hits, and doubles torch.export
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are imported
_TO_DISK = whole.to_disk
torch.set_num_threads(1)  # for what is made once for a whole file, before the first test

FIRST = [
    "walk",
    "demo",
    "contract_compile",
    "contract_export",
    "pixel_program",
    "contract_onnx",
    "triton_compiles",
    "point_real_rooms",
    "artefact",
    "ray",
    "budget",
    "first_steps",
    "grid",
    "study",
    "budget_trials",
    "search_views",
    "distributed",
    "resume",
    "server",
    "extract_faults",
]
"""files whose few tests take long together, longest first"""


WHOLE = {"serve", "media", "export", "test_packaged.py"}
"""folders and files of tests of which none may be skipped in CI"""


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.nodeid.removeprefix("tests/").startswith(LONG):
        item.add_marker("long")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # xdist's own order: files of few tests last, however long


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, then those of many tests: a long file at the end leaves a core idle."""
    count = Counter(item.path for item in items)
    place = {f"test_{name}": i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: (place.get(item.path.stem, len(place)), -count[item.path]))


def pytest_collection_finish() -> None:
    """What is there by now stays: Python need not look through it for garbage, a third of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _skip_not(report, item.path)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _skip_not(report, collector.path)
    return report


def _skip_not(report: pytest.TestReport | pytest.CollectReport, path: Path) -> None:
    """With NO_SKIPS, as in CI, a test of pages, films, exports or packaged models that is skipped has failed."""
    if os.environ.get("NO_SKIPS") and report.skipped and not hasattr(report, "wasxfail") and WHOLE & set(path.parts):
        report.outcome = "failed"
        report.longrepr = f"{path}: skipped, though NO_SKIPS is set: {report.longrepr}"


@pytest.fixture(autouse=True)
def _nothing_logged() -> None:
    """Every test is a command of its own."""
    log_once.cache_clear()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Whatever the test before has set: results depend on it in their last digits, and the tests share the machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_disks() -> Iterator[None]:
    """Tests write files by the thousand, and lose no power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "to_disk", lambda _: None)
        yield


@pytest.fixture
def real_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go to the disk, as they do for users."""
    monkeypatch.setattr(whole, "to_disk", _TO_DISK)


@pytest.fixture(autouse=True, scope="session")
def _one_core() -> Iterator[None]:
    """A grid or a search that is not told how many runs go at a time starts no process: that takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sparsefuse.experiments.grid.cores", lambda: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_commit() -> Iterator[None]:
    """Every run notes the commit of the code, which git looks for in all of it: once will do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "_commit", functools.cache(setup._commit))
        yield


@pytest.fixture(autouse=True, scope="session")
def _from_an_index() -> Iterator[None]:
    """Commands that install an extra are those of a package from an index, wherever this one came from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extras, "_origin", dict)
        yield


@pytest.fixture
def made_up_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency and memory, which take a second a model to measure, are numbers that differ from call to call."""
    calls = itertools.count(1)

    def measured(*_: object) -> measure.Measured:
        return measure.Measured(*[next(calls)] * 7, batch=measure.BATCH)

    for place in ("cost.measure", "runs.scoring", "budget.finals"):
        monkeypatch.setattr(f"sparsefuse.{place}.measure", measured)


@pytest.fixture
def definition() -> Iterator[None]:
    """Every operation by PyTorch's own: what is counted then is what a method is, whoever computes it elsewhere."""
    with ops.backend("torch"):
        yield
