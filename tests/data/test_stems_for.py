"""Which stem is proposed for which stream."""

import pytest
import torch

from sparsefuse.data.stems import stems_for
from sparsefuse.layers.stem import stems
from sparsefuse.tokens import Tokens


def test_long_readings_get_windows_of_six_tenths_of_a_second():
    made = {"wrist": {"extractor": "series", "rate": 50.0}}
    (wrist,) = stems_for({"wrist": 500}, {"wrist": 3}, made).values()
    assert wrist.stem == {"kind": "patch", "tokens": 30, "hop": 15}
    assert wrist.tokens == 34  # ceil(500 / 15)
    assert "0.6 s" in wrist.why


def test_without_a_rate_windows_leave_about_64_tokens():
    wrist = stems_for({"wrist": 1000}, {"wrist": 3})["wrist"]
    assert wrist.stem == {"kind": "patch", "tokens": 32, "hop": 16}
    assert wrist.tokens == 63


@pytest.mark.parametrize(("length", "features"), [(64, 3), (500, 1024)])
def test_short_streams_and_wide_tokens_stay_as_they_are(length, features):
    assert stems_for({"a": length}, {"a": features})["a"].stem == {}
    assert stems_for({"a": length}, {"a": features})["a"].tokens == length


@pytest.mark.parametrize("length", [65, 130, 500, 7000])
def test_a_proposed_stem_makes_the_tokens_that_it_says(length):
    proposal = stems_for({"a": length}, {"a": 6})["a"]
    (stem,) = stems({"a": proposal.stem}, {"a": 6}).values()
    out = stem(Tokens(torch.zeros(1, length, 6), torch.ones(1, length, dtype=torch.bool)))
    assert out.x.shape[1] == proposal.tokens
