"""A picture that takes far more memory than its file is refused before it is decoded, by a size that can be set."""

from pathlib import Path

import numpy as np
import pytest

from sparsefuse.files.skipped import Unusable
from sparsefuse.media import FramesRequest, read
from sparsefuse.media import video as pictures
from sparsefuse.media.png import png_of


@pytest.fixture
def picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """200 x 300 pixels, where pictures may take 100 kB beside their file."""
    monkeypatch.setattr(pictures, "_PICTURE", 0)
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.0002")
    (tmp_path / "a.png").write_bytes(png_of(np.zeros((200, 300, 3), np.uint8)))
    return tmp_path / "a.png"


def test_what_is_decoded_and_made_of_it_is_counted(picture: Path) -> None:
    """3 bytes a pixel to decode, twice 3 (gray: 1) for the pixels at full size: 540, 300 kB; 180 for a smaller one."""
    full, gray, small = read(picture, [FramesRequest(), FramesRequest(gray=True), FramesRequest(size=(20, 30))])
    assert isinstance(full, Unusable)
    assert "a picture of 300 x 200 pixels at full size takes 0.00054 GB of memory" in str(full)
    assert "set SPARSEFUSE_BEYOND_GB above 0.000539" in str(full)
    assert isinstance(gray, Unusable)
    assert "0.0003 GB" in str(gray)
    assert not isinstance(small, Unusable)


def test_the_option_lets_it_in(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.0006")
    (full,) = read(picture, [FramesRequest()])
    assert full.pixels.shape == (1, 200, 300, 3)  # type: ignore[union-attr]


def test_a_smaller_picture_is_bounded_too(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEFUSE_BEYOND_GB", "0.0001")
    (small,) = read(picture, [FramesRequest(size=(20, 30))])
    assert "a picture of 300 x 200 pixels takes 0.00018 GB" in str(small)
