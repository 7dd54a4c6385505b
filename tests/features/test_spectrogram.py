"""The spectrogram against a slow Fourier sum and the mel formulas worked out by hand."""

import math
import wave
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.features import extractor
from sparsefuse.features.spectrogram import Extractor, log_mel, mel_matrix, with_context

extract = extractor("spectrogram")


def slow_mel_edges(bins: int, top: float) -> list[float]:
    """Slaney: 66.67 Hz a mel up to 1000 Hz = 15 mel, then a factor of 6.4 for every 27 mel."""
    last = 15 + 27 * math.log(top / 1000) / math.log(6.4)
    mels = [last * i / (bins + 1) for i in range(bins + 2)]
    return [mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27) for mel in mels]


def slow_log_mel(sound: list[float], bins: int) -> np.ndarray:
    """16 kHz, 400 samples windowed, 160 apart, 512 points; one sum per number."""
    edges, rows = slow_mel_edges(bins, 8000), []
    for token in range(len(sound) // 160):
        first = token * 160 + 80 - 200  # the window is centred on the hop
        piece = [sound[i] if 0 <= i < len(sound) else 0.0 for i in range(first, first + 400)]
        piece = [x * (0.54 - 0.46 * math.cos(2 * math.pi * i / 400)) for i, x in enumerate(piece)]
        power = []
        for k in range(257):
            real = sum(x * math.cos(2 * math.pi * k * i / 512) for i, x in enumerate(piece))
            imaginary = sum(x * math.sin(2 * math.pi * k * i / 512) for i, x in enumerate(piece))
            power.append(real**2 + imaginary**2)
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for k in range(257):
                hertz = k * 31.25
                if low < hertz < high:
                    height = (hertz - low) / (middle - low) if hertz <= middle else (high - hertz) / (high - middle)
                    total += power[k] * height * 2 / (high - low)
            row.append(math.log(total + 1e-6))
        rows.append(row)
    return np.array(rows)


def test_it_equals_a_slow_sum() -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 700).astype(np.float32)
    np.testing.assert_allclose(log_mel(noise), slow_log_mel(noise.tolist(), 128), atol=1e-4)  # float32 sums of 400


@pytest.mark.parametrize(
    ("samples", "tokens"), [(0, 1), (1, 1), (159, 1), (160, 1), (319, 1), (320, 2), (16000, 100), (160000, 1000)]
)
def test_ten_milliseconds_give_a_token_and_no_clip_is_too_short(samples: int, tokens: int) -> None:
    features = log_mel(np.zeros(samples, np.float32))
    assert features.shape == (tokens, 128)
    np.testing.assert_allclose(features, math.log(1e-6), rtol=1e-6)  # silence


def test_a_click_is_loudest_in_the_token_of_its_time() -> None:
    sound = np.zeros(16000, np.float32)
    sound[160 * 37 + 80] = 1
    assert int(log_mel(sound).sum(axis=1).argmax()) == 37


def test_a_tone_is_loudest_in_the_bin_of_its_frequency() -> None:
    edges = slow_mel_edges(128, 8000)
    for bin_ in (40, 90, 120):
        tone = np.sin(2 * math.pi * edges[bin_ + 1] * np.arange(16000) / 16000)
        assert abs(int(log_mel(tone)[50].argmax()) - bin_) <= 1  # frequencies are 31 Hz apart


def test_no_mel_bin_is_empty() -> None:
    matrix = mel_matrix(16000, 512, 128)
    assert matrix.shape == (128, 257)
    assert (matrix.max(axis=1) > 0).all()
    with pytest.raises(ValueError, match=r"of 400 mel bins contain no frequency at 16000 Hz; use fewer bins"):
        mel_matrix(16000, 512, 400)


def write_ramp(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.arange(8000, dtype="<i2").tobytes())
    return path


def test_a_file_becomes_tokens(tmp_path: Path) -> None:
    features = extract(write_ramp(tmp_path / "a.wav"), bins=32)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, log_mel(np.arange(8000) / 32768, bins=32), atol=1e-4)


def test_context_joins_neighbours_and_repeats_the_ends() -> None:
    x = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert with_context(x, 1).tolist() == [[1, 10, 1, 10, 2, 20], [1, 10, 2, 20, 3, 30], [2, 20, 3, 30, 3, 30]]
    assert with_context(x, 0).tolist() == x.tolist()
    assert with_context(x[:1], 2).tolist() == [[1, 10] * 5]


def test_changes_and_energy_are_appended_before_context(tmp_path: Path) -> None:
    sound = write_ramp(tmp_path / "a.wav")
    plain = extract(sound, bins=20)
    both = extract(sound, bins=20, difference=True, energy=True)
    np.testing.assert_array_equal(both[:, :20], plain)
    np.testing.assert_array_equal(both[0, 20:40], 0)
    np.testing.assert_allclose(both[1:, 20:40], plain[1:] - plain[:-1], atol=1e-6)
    np.testing.assert_allclose(both[:, 40], np.log(np.exp(plain.astype(float)).sum(1)), atol=1e-5)
    np.testing.assert_array_equal(extract(sound, bins=20, difference=True, energy=True, context=1)[:, 41:82], both)


def test_one_in_so_many_tokens_is_kept(tmp_path: Path) -> None:
    sound = write_ramp(tmp_path / "a.wav")
    plain = extract(sound, bins=20)
    found = extract(sound, bins=20, context=2, every=3)
    assert found.shape == (-(-len(plain) // 3), 100)
    np.testing.assert_array_equal(found, with_context(plain, 2)[::3])


def test_impossible_options_are_refused() -> None:
    for wrong in ({"hop": 0.0}, {"hop": 0.03}, {"bins": 0}, {"rate": 0}):
        with pytest.raises(ValueError, match="expected rate"):
            log_mel(np.zeros(100, np.float32), **wrong)
    for wrong in ({"context": -1}, {"every": 0}):
        with pytest.raises(ValueError, match="expected context >= 0 and every >= 1"):
            Extractor(**wrong)
