"""Every test with a `case` runs over all methods and variants; those of a model as it is, over every backend too."""

from collections.abc import Iterator

import pytest
from contract_cases import BASE, CASES, FEATURES, case_id

from sparsefuse.layers import ops
from sparsefuse.layers.ops import native

BACKENDS = ("torch", "native")
COMPUTED = ("test_contract", "test_contract_middle", "test_contract_mixup")
"""files of tests that run a model as it is; compiled and exported ones always hold the definition"""

LEARNS = "test_thirty_steps_learn_sixteen_samples"
LONG = (LEARNS, "test_order_of_modalities_does_not_change_logits")


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=case_id)
    if metafunc.module.__name__.split(".")[-1] in COMPUTED:
        metafunc.parametrize("_backend", BACKENDS, indirect=True)


@pytest.hookimpl(tryfirst=True)  # before slow tests are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Variants are long tests of the definition, of mixup and of what takes long: C++, where it is used, is tested more
    often."""
    for item in items:
        given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        often = given.get("_backend") != "torch" and item.path.stem != "test_contract_mixup"
        name = getattr(item, "originalname", "")
        if given.get("case", BASE[0]) not in BASE and not (often and name not in LONG):
            item.add_marker("slow")
            item.add_marker("long")
        elif name == LEARNS:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _backend(request: pytest.FixtureRequest) -> Iterator[None]:
    name = getattr(request, "param", "auto")
    if name == "native" and (reason := native.unavailable()):
        pytest.skip(reason)
    with ops.backend(name):
        yield


@pytest.fixture
def reads(case):
    """The modalities that the case's model reads: all, but for `unimodal`."""
    name, options = case
    return {options.get("modality", min(FEATURES))} if name == "unimodal" else set(FEATURES)
