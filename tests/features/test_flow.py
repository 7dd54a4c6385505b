"""Optical flow of frames whose movement is known, because they were moved by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sparsefuse.features import build, extractor
from sparsefuse.features.flow import Extractor
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import Frames, FramesRequest, write_clip


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """Blurred noise, uint8: something to hold on to at every pixel."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).astype(np.uint8)


def frame(x: int, y: int, side: int = 112, square: int = 64) -> np.ndarray:
    """A square of texture at (x, y) before a texture that stands still."""
    pixels = texture(0, side, side)
    pixels[y : y + square, x : x + square] = texture(1, square, square)
    return pixels


def found(*frames: np.ndarray) -> Frames:
    return Frames(np.stack(frames)[..., None], np.arange(len(frames)) / 25)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (0, -2), (-6, 4)])
def test_a_moved_square_gives_its_displacement_and_the_rest_none(dx: int, dy: int) -> None:
    features = Extractor(size=(112, 112)).features(found(frame(24, 24), frame(24 + dx, 24 + dy)))
    assert features.shape == (1, 14 * 14 * 2)
    assert features.dtype == np.float32
    areas = features.reshape(14, 14, 2) * 20  # in pixels
    np.testing.assert_allclose(areas[5:9, 5:9].mean((0, 1)), [dx, dy], atol=0.05)
    np.testing.assert_allclose(areas[13:], 0, atol=0.05)


def test_tv_l1_gives_it_too() -> None:
    made = Extractor(algorithm="tvl1", size=(48, 48), pool=4)
    moved = made.features(found(frame(8, 8, 48, 32), frame(10, 7, 48, 32))).reshape(12, 12, 2) * 20
    np.testing.assert_allclose(moved[5:8, 4:8].mean((0, 1)), [2, -1], atol=0.1)
    np.testing.assert_allclose(moved[11], 0, atol=0.2)


def test_a_token_is_the_mean_of_areas_cut_at_the_clip_and_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = np.random.default_rng(0).uniform(-9, 9, (16, 24, 2)).astype(np.float32)
    flow[:4, :4] = 7
    made = Extractor(size=(16, 24), pool=4, clip=5)
    monkeypatch.setattr(type(made), "_estimator", type("Known", (), {"calc": lambda self, a, b, c: flow})())
    areas = [
        min(1, sum(flow[4 * row + i, 4 * column + j, axis] for i in range(4) for j in range(4)) / 16 / 5)
        for row in range(4)
        for column in range(6)
        for axis in range(2)
    ]
    still = np.zeros((16, 24), np.uint8)
    np.testing.assert_allclose(made.features(found(still, still))[0], areas, atol=1e-6)
    assert areas[:2] == [1, 1]


def test_patches_hold_their_own_areas_in_rows() -> None:
    frames = found(frame(24, 24), frame(27, 24), frame(27, 26))
    whole = Extractor(size=(112, 112)).features(frames).reshape(2, 14, 14, 2)
    patches = Extractor(size=(112, 112), patch=56).features(frames)
    assert patches.shape == (2 * 4, 7 * 7 * 2)
    np.testing.assert_array_equal(patches[6], whole[1, 7:, :7].ravel())  # second pair, second row, first column


def test_one_pair_less_than_frames_and_a_still_picture_has_none(tmp_path: Path) -> None:
    grey = np.repeat(np.stack([frame(24 + i, 24) for i in range(6)])[..., None], 3, axis=3)
    write_clip(tmp_path / "film.mp4", grey, fps=10)
    assert extractor("flow")(tmp_path / "film.mp4").shape == (5, 200)
    assert extractor("flow")(tmp_path / "film.mp4", rate=5, pool=16).shape == (2, 50)  # 0, .2, .4 s
    write_clip(tmp_path / "still.mp4", grey[:1], fps=10)
    with pytest.raises(Unusable, match=r"still\.mp4: has one frame, and flow needs two"):
        extractor("flow")(tmp_path / "still.mp4")


def test_it_asks_for_small_grey_frames() -> None:
    assert Extractor(rate=5, size=(32, 48)).request() == FramesRequest(rate=5, size=(32, 48), gray=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "tv-l1"}, "extractor 'flow': unknown value of algorithm 'tv-l1'; did you mean 'tvl1'"),
        ({"size": [8, 8]}, "extractor 'flow': size is 8 x 8, expected at least 16 x 16 pixels"),
        ({"pool": 7}, "extractor 'flow': pool is 7, expected a divisor of the height and width, 80 x 80"),
        ({"patch": 28}, "extractor 'flow': patch is 28, expected a multiple of pool, 8, that divides"),
        ({"clip": 0}, "extractor 'flow': clip is 0"),
    ],
)
def test_a_wrong_option_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build("flow", options)
    assert message in str(caught.value)
