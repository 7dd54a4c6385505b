"""A file is whole or not there, whatever stops its writing."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from sparsefuse.files import whole
from sparsefuse.files.whole import read_json, replacing, write_json, write_text


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_text_and_json_come_back_as_they_were(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "ü\n")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "ü\n".encode()
    write_json(tmp_path / "a.json", {"ü": [1, None, 2.5]})
    assert read_json(tmp_path / "a.json") == {"ü": [1, None, 2.5]}
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("stopped_by", [OSError, KeyboardInterrupt])
def test_a_stopped_writer_leaves_the_old_file_and_no_other(tmp_path: Path, stopped_by: type[BaseException]) -> None:
    write_text(tmp_path / "a.txt", "old")

    def write() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half of the ne")
            raise stopped_by

    with pytest.raises(stopped_by):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_full_disk_at_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(whole.os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_the_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.csv") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.csv").exists()
        assert temporary.parent == tmp_path, "a rename works within one file system only"
        assert temporary.suffix == ".csv"
        assert temporary.name.startswith("."), "a listing or a glob does not find it"
    assert (tmp_path / "a.csv").read_text() == "half"


def test_what_cannot_be_json_does_not_touch_the_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


@pytest.mark.usefixtures("real_disk")
def test_a_file_is_on_the_disk_before_it_takes_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, object]] = []
    replace, fsync = os.replace, os.fsync

    def traced_fsync(file: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(file).st_mode) else os.fstat(file).st_size
        fsync(file)
        done.append(("on the disk", kind))

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", lambda *names: (replace(*names), done.append(("renamed", names[1].name))))
    write_text(tmp_path / "a.json", "12345")
    assert done == [("on the disk", 5), ("renamed", "a.json"), ("on the disk", "folder")]
    del done[:]
    with replacing(tmp_path / "b.json", durable=False) as temporary:
        temporary.write_text("123")
    assert done == [("renamed", "b.json")]
