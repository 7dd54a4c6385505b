"""What was dropped on the page does not stay, and does not fill the disk."""

import os
import time
from pathlib import Path

import pytest

from sparsefuse.serve.refusal import Refusal
from sparsefuse.serve.uploads import SECONDS, Uploads


def put(uploads: Uploads, name: str, size: int, *, age: float) -> None:
    path = uploads.folder / name / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(bytes(size))
    then = time.time() - age
    os.utime(path, (then, then))


def left(uploads: Uploads) -> list[str]:
    return sorted(path.name for path in uploads.folder.iterdir())


def test_old_files_go_with_their_folders(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most=1000, places=1)
    put(uploads, "old", 1, age=SECONDS + 5)
    put(uploads, "young", 1, age=SECONDS - 5)
    uploads.sweep()
    assert left(uploads) == ["young"]


def test_of_too_much_the_oldest_goes(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most=1000, places=1)
    for age, name in enumerate("dcba"):
        put(uploads, name, 400, age=age)
    uploads.sweep()
    assert left(uploads) == ["c", "d"]


def test_so_many_uploads_may_come_at_a_time(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path, most=1000, places=1)
    with uploads.arriving(), pytest.raises(Refusal, match="too many uploads"), uploads.arriving():
        pass
    with uploads.arriving():
        pass


def test_a_link_in_the_folder_is_not_held(tmp_path: Path) -> None:
    uploads = Uploads(tmp_path / "page", most=1000, places=1)
    put(uploads, "clip", 1, age=0)
    clip, link = uploads.folder / "clip" / "clip.mp4", uploads.folder / "link.mp4"
    link.symlink_to(clip)
    assert uploads.holds(str(clip))
    assert not uploads.holds(str(link))
    assert not uploads.holds(f"{uploads.folder}/clip/../../secret.mp4")
