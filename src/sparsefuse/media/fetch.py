"""Fetches the file that a path or URL names, and tells one version of it from another."""

import atexit
import errno
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparsefuse.extras import need
from sparsefuse.files.allowed import lies_below
from sparsefuse.files.references import split_ref
from sparsefuse.files.skipped import Unusable
from sparsefuse.media.request import MediaLimits

_CHUNK = 2**20
_VERSION_KEYS = ("size", "ETag", "etag", "LastModified", "last_modified", "mtime", "updated", "created", "md5Hash")


WORDS = "data:,"
"""begins a source that is a text itself"""


def is_url(source: str) -> bool:
    """Whether it names a file elsewhere: s3://, gs://, http:// ..."""
    return "://" in source and not source.startswith(WORDS)


def check_allowed(source: str, roots: Sequence[str] | None) -> None:
    """Raises Unusable for a URL, or a file that does not lie below one of the folders `roots`, links followed. None
    allows all."""
    if roots is None or source.startswith(WORDS):
        return
    if is_url(source):
        raise Unusable(f"{source[:200]}: is a URL, which --offline does not fetch")
    if not all(lies_below(Path(file), roots) for file in (source, split_ref(source)[0])):  # a link, with a key or not
        folders = " or ".join(roots)
        raise Unusable(f"{source[:200]}: does not lie in {folders}; --offline reads no other folder, add it by --roots")


def allowed_roots(offline: bool, roots: Sequence[Path]) -> Sequence[Path] | None:
    """The argument `roots` for the options --offline and --roots. Raises ValueError for the latter alone."""
    if roots and not offline:
        raise ValueError("--roots names what may be read with --offline; give that too")
    if offline:
        hub_offline()
    return roots if offline else None


def hub_offline() -> None:
    """From now on no model of the hub is fetched, here and in processes that start later; the cache is used."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if constants := sys.modules.get("huggingface_hub.constants"):
        constants.HF_HUB_OFFLINE = True  # pyright: ignore[reportAttributeAccessIssue]


def check_protocol(source: str) -> None:
    """Raises ImportError if the protocol of a URL needs a missing package, ValueError if it is unknown."""
    protocol = source.split("://")[0]
    if protocol in ("http", "https"):
        need("aiohttp", "hub", f"{source}: reading {protocol}://")
    try:
        _fsspec().get_filesystem_class(protocol)
    except ImportError as error:
        raise ImportError(f"{source}: reading {protocol}:// needs one more package: {error}") from error
    except ValueError as error:
        raise ValueError(f"{source}: unknown protocol {protocol!r} ({error})") from error


def version(source: str) -> str:
    """Size and time of change, or what else a server says of the file's version; empty if there is no such file."""
    if source.startswith(WORDS):
        return ":"  # the source says all
    if not is_url(source):
        path = Path(source)
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return ""
        return f":{status.st_size}:{status.st_mtime_ns}" if path.is_file() else ""
    try:
        system, path = _fsspec().core.url_to_fs(source)
        info: dict[str, Any] = system.info(path)
    except Exception:  # each file system has errors of its own; reading the file says what is wrong
        return ""
    return ":".join(f"{key}={info[key]}" for key in _VERSION_KEYS if info.get(key) is not None)


def fetched(source: str, folder: Path, limits: MediaLimits) -> Path:
    """The file itself, or a local copy of the URL's or text. A process keeps one copy, for the next part of a film.

    Raises Unusable if it does not exist, is larger than the limit or not allowed; OSError when the disk is full.
    """
    check_allowed(source, limits.roots)
    if not is_url(source) and not source.startswith(WORDS):
        return Path(source)
    if _kept.get("source") != source:
        _forget()
        _kept["path"] = _copy(source, folder, limits)
        _kept["source"] = source
    return Path(_kept["path"])


_kept: dict[str, str] = {}


@atexit.register
def _forget() -> None:
    with suppress(OSError):
        Path(_kept.pop("path", "")).unlink()
    _kept.clear()


def _copy(source: str, folder: Path, limits: MediaLimits) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if source.startswith(WORDS):
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".txt", delete=False, encoding="utf-8") as copy:
            copy.write(source.removeprefix(WORDS))
        return copy.name
    suffix = Path(source.split("?")[0]).suffix
    with tempfile.NamedTemporaryFile(dir=folder, suffix=suffix, delete=False) as copy:
        try:
            with _fsspec().open(source, "rb", **_open_options(source)) as file:
                while block := file.read(_CHUNK):
                    copy.write(block)
                    if copy.tell() > limits.file_bytes:
                        raise Unusable(f"{source}: is larger than {limits.file_bytes / 1e9:g} GB, the limit")
        except BaseException as error:
            Path(copy.name).unlink()
            # each file system has errors of its own
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            if full or isinstance(error, Unusable) or not isinstance(error, Exception):
                raise
            raise Unusable(f"{source}: cannot be fetched ({type(error).__name__}: {error})") from error
    return copy.name


def _open_options(source: str) -> dict[str, Any]:
    """Options that read a file in one piece: not every web server answers range requests."""
    return {"block_size": 0} if source.startswith(("http://", "https://")) else {}


def _fsspec() -> Any:
    import fsspec
    import fsspec.core

    return fsspec
