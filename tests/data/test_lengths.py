import pytest
import torch

from sparsefuse.data.lengths import WHOLE, Lengths

RAMP = torch.tensor([[0.0, 10.0], [1.0, 8.0], [2.0, 6.0], [3.0, 4.0]])  # straight lines: 4 tokens, 2 features


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (7, [0, 0.5, 1, 1.5, 2, 2.5, 3]),
        (4, [0, 1, 2, 3]),
        (3, [0, 1.5, 3]),
        (2, [0, 3]),
        (1, [1.5]),
    ],
)
def test_resampling_keeps_the_ends_and_interpolates_between(wanted, expected):
    fit = Lengths(resample={"a": wanted})
    line = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(fit.fit("a", RAMP), torch.stack([line, 10 - 2 * line], 1))
    assert fit.after("a", 4) == wanted


def test_a_single_token_is_repeated():
    assert Lengths(resample={"a": 3}).fit("a", torch.tensor([[5.0]])).tolist() == [[5.0]] * 3


def test_a_stream_is_cut_first_and_resampled_then():
    fit = Lengths(max_length=3, resample={"a": 5})
    assert fit.fit("a", RAMP)[:, 0].tolist() == [0, 0.5, 1, 1.5, 2]
    assert fit.after("a", 4) == 5
    assert fit.fit("b", RAMP)[:, 0].tolist() == [0, 1, 2]
    assert fit.after("b", 4) == 3


def test_nothing_asked_changes_nothing():
    assert WHOLE.fit("a", RAMP) is RAMP
    assert WHOLE.after("a", 4) == 4
