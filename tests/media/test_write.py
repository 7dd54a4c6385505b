"""A clip is written whole, the same each time, or not at all."""

from pathlib import Path

import numpy as np
import pytest
from media_cases import paint, sine

from sparsefuse.media import read_frames, write_clip


def test_the_same_input_gives_the_same_bytes(clip: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "again.mp4", paint(range(75)), fps=25, sound=sine(440, 3))
    assert (tmp_path / "again.mp4").read_bytes() == clip.read_bytes()


def test_a_fractional_frame_rate_is_kept(tmp_path: Path) -> None:
    write_clip(tmp_path / "ntsc.mp4", paint(range(31)), fps=30000 / 1001)
    assert read_frames(tmp_path / "ntsc.mp4").times[30] == pytest.approx(1.001, abs=1e-9)


@pytest.mark.parametrize(
    ("pixels", "sound", "message"),
    [
        (np.zeros((2, 15, 16, 3), np.uint8), None, "even; got 15 x 16"),
        (np.zeros((2, 16, 16), np.uint8), None, "uint8"),
        (np.zeros((0, 16, 16, 3), np.uint8), None, "uint8"),
        (np.zeros((2, 16, 16, 3), np.float32), None, "got float32"),
        (paint(range(2)), np.zeros((0,), np.float32), "sound must be float32"),
    ],
)
def test_wrong_input_leaves_no_file(tmp_path: Path, pixels: np.ndarray, sound: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_clip(tmp_path / "w.mp4", pixels, fps=5, sound=sound)
    assert list(tmp_path.iterdir()) == []
