"""The statistics of a stream against slow loops over each clip's own tokens."""

import numpy as np
import pytest
import torch
from scipy.signal import welch

from sparsefuse.baseline.statistics import MOST, PER_FEATURE, kind_of, statistics
from sparsefuse.tokens import Tokens

LENGTHS = (50, 7, 2, 1)


def ragged(width: int = 3) -> tuple[list[np.ndarray], Tokens]:
    """Clips of `LENGTHS`, and the same as one batch whose padding is no number."""
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=(length, width)).cumsum(0).astype(np.float32) for length in LENGTHS]
    x = torch.full((len(clips), max(LENGTHS) + 5, width), torch.nan)
    for row, clip in zip(x, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    return clips, Tokens(x, torch.arange(x.shape[1]) < torch.tensor(LENGTHS)[:, None])


def slope(x: np.ndarray, begin: float, end: float) -> np.ndarray:
    """The change over a part of the clip by a least squares line, or 0 of a single token."""
    place = (np.arange(len(x)) + 0.5) / len(x)
    inside = (place >= begin) & (place < end)
    if inside.sum() < 2:
        return np.zeros(x.shape[1])
    return np.polyfit(place[inside], x[inside], 1)[0] * (end - begin)


def test_means_deviations_quantiles_differences_and_slopes_are_those_of_each_clip_alone() -> None:
    clips, batch = ragged()
    found = statistics(batch, "all").unflatten(1, (PER_FEATURE["all"], 3)).numpy()
    for x, row in zip(clips, found, strict=True):
        steps = np.diff(x, axis=0) if len(x) > 1 else np.zeros((1, 3))
        spans = [(0, 1), (0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)]
        expected = [x.mean(0), x.std(0), abs(steps).mean(0), np.sqrt((steps**2).mean(0))]
        expected += [np.quantile(x, q, axis=0) for q in (0, 0.25, 0.5, 0.75, 1)]
        expected += [slope(x, *span) for span in spans]
        np.testing.assert_allclose(row[:13], expected, atol=2e-5)  # sums of float32


def test_the_spectrum_is_welchs() -> None:
    """scipy's windows, halves apart, over a clip whose ends are its mean: windows that stick out add nothing."""
    x = np.zeros((16 * 8, 1), np.float32)
    x[32:96, 0] = np.random.default_rng(1).normal(size=64)
    x[32:96] -= x[32:96].mean()
    _, density = welch(x[:, 0], window="hann", nperseg=32, noverlap=16, detrend=False, return_onesided=False)
    windows, hann = 7, np.hanning(33)[:32]
    power = density[1:17] * (hann**2).sum() * windows / len(x)
    expected = [np.sqrt(power[a - 1 : b].sum()) for a, b in ((1, 1), (2, 3), (4, 7), (8, 16))]
    found = statistics(Tokens(torch.from_numpy(x)[None], torch.ones(1, len(x)).bool()), "all")
    np.testing.assert_allclose(found[0, -4:], expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["all", "moments", "mean"])
def test_padding_and_company_change_nothing(kind: str) -> None:
    clips, batch = ragged()
    together = statistics(batch, kind)
    assert together.shape == (4, 3 * PER_FEATURE[kind])
    for x, row in zip(clips, together, strict=True):
        alone = statistics(Tokens(torch.from_numpy(x)[None], torch.ones(1, len(x)).bool()), kind)
        torch.testing.assert_close(row, alone[0], atol=2e-5, rtol=1e-5)


def test_a_clip_without_the_stream_is_zeros() -> None:
    found = statistics(Tokens(torch.full((1, 4, 2), torch.nan), torch.zeros(1, 4).bool()), "all")
    assert found.abs().max() <= 1.01e-6, "roots begin at a millionth, so that they have a gradient"


def test_wide_streams_have_fewer_statistics_and_single_tokens_their_mean() -> None:
    each = PER_FEATURE["all"]
    assert [kind_of(MOST // each, 9), kind_of(MOST // each + 1, 9), kind_of(1024, 9)] == ["all", "moments", "moments"]
    assert [kind_of(1025, 9), kind_of(4, 1), kind_of(4, None)] == ["mean", "mean", "all"]
