"""One thread: the models are tiny, and the tests share the machine."""

import pytest
import torch
from contract_cases import CASES, FEATURES, case_id


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=case_id)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def reads(case):
    """The modalities that the case's model reads: all, but for `unimodal`."""
    name, options = case
    return {options.get("modality", min(FEATURES))} if name == "unimodal" else set(FEATURES)
