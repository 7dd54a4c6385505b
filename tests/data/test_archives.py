"""Archives: unpacked whole into their folder, or not at all."""

import io
import os
import stat
import tarfile
import zipfile

import pytest

from sparsefuse.data import archives
from sparsefuse.data.archives import unpack

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
FILES = {"data/labels.csv": b"clip\nx\n", "data/clips/x.mp4": b"abc" * 1000, "data/clips/empty.mp4": b""}


def pack(path, files):
    """An archive by hand: name -> content."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, next(mode for end, mode in TARS.items() if path.name.endswith(end))) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("end", [".zip", *TARS])
def test_all_files_come_out_and_the_only_folder_is_entered(tmp_path, end):
    archive = pack(tmp_path / f"set{end}", FILES)
    assert archives.is_archive(archive)
    found = unpack(archive, tmp_path / "out" / "unpacked")
    assert found == tmp_path / "out" / "unpacked" / "data"
    assert contents(found.parent) == FILES


def test_several_folders_are_left_as_they_are(tmp_path):
    archive = pack(tmp_path / "set.zip", {"a/x": b"1", "b/x": b"2"})
    assert unpack(archive, tmp_path / "un") == tmp_path / "un"


def refused(tmp_path, archive, message):
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    with pytest.raises(ValueError, match=message):
        unpack(archive, tmp_path / "deep" / "out" / "unpacked")
    assert not (tmp_path / "deep" / "out").exists() or not list((tmp_path / "deep" / "out").iterdir())
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} - before <= {tmp_path / "deep"}


@pytest.mark.parametrize("end", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "ABSOLUTE", "..\\x", "C:\\x", "\\\\host\\x", "a/../../deep/out/unpacked2/x"]
)
def test_a_member_that_leads_out_is_refused_and_nothing_stays(tmp_path, end, name):
    name = name.replace("ABSOLUTE", str(tmp_path / "absolute"))
    archive = pack(tmp_path / f"set{end}", {"good": b"1", name: b"2"})
    refused(tmp_path, archive, r"points outside the folder; nothing was unpacked")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = kind, "/etc"
        archive.addfile(info)
        after = tarfile.TarInfo("link/passwd")
        after.size = 1
        archive.addfile(after, io.BytesIO(b"x"))
    refused(tmp_path, tmp_path / "set.tar", "'link' is a link or device")


def test_a_link_in_a_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    refused(tmp_path, tmp_path / "set.zip", "'link' is a link or device")


@pytest.mark.parametrize("end", [".zip", ".tar.gz"])
def test_a_bomb_is_refused(tmp_path, end, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 1 << 16)
    archive = pack(tmp_path / f"set{end}", {f"{i}": bytes(1 << 16) for i in range(40)})
    assert 200 * archive.stat().st_size < 40 << 16
    refused(tmp_path, archive, "holds more than 200 times its own size")
    monkeypatch.setattr(archives, "FREE", 40 << 16)
    assert len(contents(unpack(archive, tmp_path / "fits"))) == 40


def test_more_than_the_disk_has_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: archives.shutil._ntuple_diskusage(9, 9, 2000))
    refused(tmp_path, pack(tmp_path / "set.tar", FILES), "the 2,000 bytes free on the disk")


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MEMBERS", 5)
    refused(tmp_path, pack(tmp_path / "set.zip", {str(i): b"" for i in range(6)}), "more than 5 files")


def test_a_member_that_lies_about_its_size_is_refused(tmp_path):
    path = pack(tmp_path / "set.zip", {"x": bytes(1000)})
    content = path.read_bytes()
    assert content.count((1000).to_bytes(4, "little")) == 2  # before the data, and in the directory
    path.write_bytes(content.replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(tmp_path, path, "cannot be unpacked|not of the 10 bytes")


@pytest.mark.parametrize("end", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_a_truncated_archive_leaves_nothing(tmp_path, end):
    path = pack(tmp_path / f"set{end}", {"x": os.urandom(100000), "y": os.urandom(100000)})
    path.write_bytes(path.read_bytes()[:120000])
    refused(tmp_path, path, "truncated or no such archive|not of the")


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"hello")
    refused(tmp_path, tmp_path / "set.zip", r"set\.zip: cannot be unpacked")


def test_a_second_run_uses_what_the_first_unpacked_and_touches_nothing_else(tmp_path):
    archive = pack(tmp_path / "set.zip", FILES)
    found = unpack(archive, tmp_path / "un")
    (found / "mine").write_text("x")
    assert unpack(archive, tmp_path / "un") == found
    assert (found / "mine").exists()
    other = pack(tmp_path / "other.zip", FILES)
    with pytest.raises(ValueError, match=r"un holds something other than other\.zip"):
        unpack(other, tmp_path / "un")
    (tmp_path / "own").mkdir()
    with pytest.raises(ValueError, match="holds something other"):
        unpack(archive, tmp_path / "own")


def test_what_a_killed_run_left_is_replaced(tmp_path):
    archive = pack(tmp_path / "set.tar.gz", FILES)
    (tmp_path / ".un.unpacking" / "data").mkdir(parents=True)
    (tmp_path / ".un.unpacking" / "data" / "half").write_text("x")
    assert contents(unpack(archive, tmp_path / "un").parent) == FILES
