"""The real data beside the repository."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    """The folder of a real data set; skips the test where it is absent."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs the real data set in {SHARED / name}")
    return SHARED / name


def touch(folder: Path, *names: str) -> None:
    """Files that are there, whatever they hold."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
