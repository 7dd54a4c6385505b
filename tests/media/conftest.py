"""A clip whose content is known, and the folder of real ones."""

from pathlib import Path

import pytest
from media_cases import paint, sine

from sparsefuse.media import write_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s: 75 numbered frames at 25 a second, a 440 Hz tone."""
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    write_clip(path, paint(range(75)), fps=25, sound=sine(440, 3))
    return path


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder
