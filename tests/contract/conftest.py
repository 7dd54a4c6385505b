"""Every test with a `case` runs over all methods and variants."""

import pytest
from contract_cases import CASES, FEATURES, case_id


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=case_id)


@pytest.fixture
def reads(case):
    """The modalities that the case's model reads: all, but for `unimodal`."""
    name, options = case
    return {options.get("modality", min(FEATURES))} if name == "unimodal" else set(FEATURES)
