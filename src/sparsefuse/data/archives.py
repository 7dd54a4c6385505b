"""Unpacks .zip and .tar archives safely: no member outside the folder, and a limit on the unpacked size."""

import json
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from sparsefuse.files.whole import write_json
from sparsefuse.shown import said, shown

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

RATIO = 200
"""An archive may hold this many times its own size: videos hold once theirs, text and zeros up to some hundred."""
FREE = 1 << 30
"""Bytes that are always allowed, regardless of the ratio."""
_PIECE = 1 << 12
"""Bytes read at once: so many of bzip2 can become a hundred million."""
MEMBERS = 5_000_000
"""More files than this are refused."""


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(path: Path, folder: Path) -> Path:
    """Unpacks `path` into `folder`; returns the folder of the data: `folder`, or the only folder in it.

    `folder` appears only when complete. One that the same file (name, size, time) was unpacked into is reused as
    it is; another is an error. Raises ValueError for a member with a path outside, a link or device, for more than
    `RATIO` times the archive's size, `MEMBERS` files or the free disk, and for a broken archive; nothing is left then.
    """
    note = folder.with_name(f"{folder.name}.json")
    mark = {"archive": path.name, "bytes": path.stat().st_size, "modified": path.stat().st_mtime_ns}
    if folder.is_dir():
        if not note.is_file() or json.loads(note.read_text(encoding="utf-8")) != mark:
            raise ValueError(f"{folder} holds something other than {path.name}; remove it or choose another folder")
        return _inner(folder)
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(path, temporary)
        write_json(note, mark)
        temporary.rename(folder)
    except _BROKEN as error:
        raise ValueError(f"{path}: cannot be unpacked, truncated or no such archive ({said(error)})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return _inner(folder)


# RuntimeError: zipfile's for an archive with a password; NotImplementedError: for a compression it lacks
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


class _Member(NamedTuple):
    name: str
    size: int
    file: IO[bytes]


def _write(path: Path, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    limit = max(FREE, RATIO * path.stat().st_size)
    total = 0
    for count, member in enumerate(_members(path)):
        target = folder / _inside(path, member.name)
        total += member.size
        if total > min(limit, free):
            why = f"{RATIO} times its own size" if limit < free else f"the {free:,} bytes free on the disk"
            raise ValueError(f"{path}: holds more than {why} (at {shown(member.name)!r}), nothing was unpacked")
        if count >= MEMBERS:
            raise ValueError(f"{path}: holds more than {MEMBERS:,} files; nothing was unpacked")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            _copy(path, member, out)


def _copy(path: Path, member: _Member, out: IO[bytes]) -> None:
    """Copies at most the size that the member declares."""
    left = member.size
    while left and (part := member.file.read(min(left, _PIECE))):
        out.write(part)
        left -= len(part)
    if left or member.file.read(1):
        name = shown(member.name)
        raise ValueError(f"{path}: member {name!r} does not have the {member.size:,} bytes that it declares")


def _members(path: Path) -> Iterator[_Member]:
    """The files of an archive, one after the other; a member that is neither file nor folder is refused."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    _refuse(path, info.filename)
                if not info.is_dir():
                    with archive.open(info) as file:
                        yield _Member(info.filename, info.file_size, file)
        return
    with tarfile.open(path, "r|*", tarinfo=_Info) as archive:  # as a stream: the members are read once, in their order
        for info in archive:
            if info.isdir():
                continue
            file = archive.extractfile(info) if info.isreg() and not info.issparse() else None
            if file is None:
                _refuse(path, info.name)
            else:
                with file:
                    yield _Member(info.name, info.size, file)


class _Info(tarfile.TarInfo):
    """A member, whose long name or other remarks are read at once."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:  # tarfile's own, called for each member
        if self.type in _REMARKS and self.size > _REMARK:
            raise tarfile.ReadError(f"a member with {self.size:,} bytes of comments")
        return super()._proc_member(archive)  # pyright: ignore[reportAttributeAccessIssue]


_REMARKS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_REMARK = 1 << 20


def _refuse(path: Path, name: str) -> None:
    what = f"{path}: member {shown(name)!r} is a link or device"
    raise ValueError(f"{what}, expected files and folders; nothing was unpacked")


def _inside(path: Path, name: str) -> PurePosixPath:
    """The member's path in the folder; \\ separates folders too."""
    place = PurePosixPath(name.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or not place.parts or ":" in place.parts[0] or "\0" in name:
        raise ValueError(f"{path}: member {shown(name)!r} points outside the folder; nothing was unpacked")
    return place


def _inner(folder: Path) -> Path:
    """Archives often hold one folder with everything in it."""
    inside = [item for item in folder.iterdir() if item.name != "__MACOSX"]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
