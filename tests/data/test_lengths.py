import pytest
import torch

from sparsefuse.config import Data
from sparsefuse.data.lengths import WHOLE, Lengths
from sparsefuse.files.skipped import Unusable

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


PATCHES = torch.tensor([[0.0], [100], [2], [120], [4], [140], [6], [160]])  # 4 frames in two patches each


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(14, [0, 100, 1, 110, 2, 120, 3, 130, 4, 140, 5, 150, 6, 160]), (4, [0, 100, 6, 160]), (2, [3, 130])],
)
def test_a_patch_is_blended_with_the_same_patch_of_other_frames(wanted: int, expected: list[int]) -> None:
    fit = Lengths(resample={"a": wanted}, patches={"a": 2})
    assert fit.fit("a", PATCHES)[:, 0].tolist() == expected


def test_frames_of_patches_are_cut_as_wholes() -> None:
    fit = Lengths(max_length=5, patches={"a": 2, "b": 8})
    assert fit.fit("a", PATCHES)[:, 0].tolist() == [0, 100, 2, 120]
    assert fit.after("a", 8) == 4
    assert fit.after("b", 8) == 5  # less than a frame is asked for


def test_patches_are_resampled_to_whole_frames_alone() -> None:
    with pytest.raises(ValueError, match=r"each frame of 'a' is 6 tokens, one per patch; expected .* such as 48$"):
        Lengths.of(Data(resample={"a": 50}), {"a": 6})
    with pytest.raises(Unusable, match="has 7 tokens to resample, expected frames of 2 tokens"):
        Lengths(resample={"a": 4}, patches={"a": 2}).fit("a", PATCHES[1:])
