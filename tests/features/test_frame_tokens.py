"""Pixels become tokens in the stated order."""

from pathlib import Path

import numpy as np
import pytest

from sparsefuse.features import extractor
from sparsefuse.features.frames import Extractor, tokens
from sparsefuse.media import Frames, write_clip

PIXELS = np.random.default_rng(0).random((3, 4, 6, 2), dtype=np.float32)  # T H W C


def test_a_frame_is_one_token_of_its_rows() -> None:
    expected = [[x for row in frame for pixel in row for x in pixel] for frame in PIXELS]
    np.testing.assert_array_equal(tokens(PIXELS), np.array(expected))


def test_patches_are_ordered_by_time_then_row_then_column() -> None:
    expected = [
        PIXELS[time, top : top + 2, left : left + 2].flatten()
        for time in range(3)
        for top in (0, 2)
        for left in (0, 2, 4)
    ]
    np.testing.assert_array_equal(tokens(PIXELS, patch=2), np.array(expected))


@pytest.mark.parametrize("patch", [None, 2])
def test_differences_are_appended_to_each_token(patch: int | None) -> None:
    plain, both = tokens(PIXELS, patch=patch), tokens(PIXELS, patch=patch, difference=True)
    per_frame = len(plain) // 3
    np.testing.assert_array_equal(both[:, : plain.shape[1]], plain)
    np.testing.assert_array_equal(both[:per_frame, plain.shape[1] :], 0)
    np.testing.assert_array_equal(both[per_frame:, plain.shape[1] :], plain[per_frame:] - plain[:-per_frame])


@pytest.mark.parametrize("patch", [None, 2])
def test_energy_is_the_mean_square_of_the_change(patch: int | None) -> None:
    both = tokens(PIXELS, patch=patch, difference=True)
    energetic = tokens(PIXELS, patch=patch, energy=True)
    half = both.shape[1] // 2
    np.testing.assert_array_equal(energetic[:, :-1], both[:, :half])
    np.testing.assert_allclose(energetic[:, -1], [sum(v * v for v in row[half:]) / half for row in both], rtol=1e-5)
    assert energetic[-1, -1] > 0


def test_the_mean_frame_is_taken_off() -> None:
    found = tokens(PIXELS, centre=True).reshape(PIXELS.shape)
    mean = (PIXELS[0] + PIXELS[1] + PIXELS[2]) / 3
    for time in range(3):
        np.testing.assert_allclose(found[time], PIXELS[time] - mean, atol=1e-6)
    changes = tokens(PIXELS, centre=True, difference=True)[:, 48:]
    np.testing.assert_allclose(changes, tokens(PIXELS, difference=True)[:, 48:], atol=1e-6)


def test_a_video_becomes_tokens_between_0_and_1(tmp_path: Path) -> None:
    pixels = np.zeros((10, 32, 32, 3), np.uint8)
    pixels[5:] = 255
    write_clip(tmp_path / "v.mp4", pixels, fps=10)
    extract = extractor("frames")
    gray = extract(tmp_path / "v.mp4", rate=5, size=(4, 8))
    assert gray.shape == (5, 32)
    assert gray.dtype == np.float32
    np.testing.assert_allclose(gray.mean(axis=1), [0, 0, 0, 1, 1], atol=0.02)  # 0, .2, .4 s; white from .5 s on
    colour = extract(tmp_path / "v.mp4", size=(4, 8), gray=False, patch=4, difference=True)
    assert colour.shape == (10 * 2, 4 * 4 * 3 * 2)


def test_a_patch_must_divide_the_frame() -> None:
    with pytest.raises(ValueError, match="patch is 3, expected a divisor of the height and width, 32 x 32"):
        Extractor(patch=3)


def test_bytes_are_the_pixels_and_halves_are_near(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (3, 4, 6, 3), dtype=np.uint8)
    found = Frames(pixels, np.arange(3.0))
    stored = Extractor(patch=2, dtype="uint8").features(found)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, tokens(pixels, patch=2))
    full, half = (Extractor(difference=True, dtype=dtype).features(found) for dtype in ("float32", "float16"))
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, atol=5e-4)  # 11 bits of a number below 1
    with pytest.raises(ValueError, match="dtype is uint8, which holds no negative numbers"):
        Extractor(difference=True, dtype="uint8")
