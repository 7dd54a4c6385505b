"""Loads the library for this processor, or says why there is none.

It is shipped in `lib/` beside this file, built with the wheel. With SPARSEFUSE_BUILD=1 it is built once, into the
user's cache, if it is missing. A file that another user could have written, or that differs from its manifest, is not
loaded: a truncated library would crash the process, a foreign one would run its code.
"""

import ctypes
import functools
import hashlib
import json
import logging
import os
import stat
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from sparsefuse.layers.ops.native import build
from sparsefuse.layers.ops.native.build import MANIFEST, TARGETS, NotBuilt

SHIPPED = build.HERE / "lib"
FUNCTIONS = (
    *("attention_forward", "attention_backward", "blocks_forward", "blocks_backward"),
    *("embed_forward", "embed_backward"),
)
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier")
"""Functions of the OpenMP runtime, in the order of `OpenMP` in threads.h."""
log = logging.getLogger(__name__)


class Status(NamedTuple):
    """The implementation of embedding, attention and blocks on this processor."""

    instructions: str | None
    """AVX512 or AVX2; None if PyTorch's operations are used"""
    why: str
    """where the library is; or why there is none, in one sentence"""

    def __str__(self) -> str:
        return f"C++ for {self.instructions}, {self.why}" if self.instructions else f"PyTorch alone: {self.why}"


class _Loaded(NamedTuple):
    library: ctypes.CDLL | None
    status: Status


def library() -> ctypes.CDLL | None:
    """The library; None, and why in the log, where there is none."""
    return _loaded().library


def status() -> Status:
    """The library that is loaded, or why there is none."""
    return _loaded().status


@functools.cache
def _loaded() -> _Loaded:
    instructions = torch.backends.cpu.get_cpu_capability()
    if sys.platform != "linux" or instructions not in TARGETS:
        supported = " or ".join(TARGETS)
        here = f"{sys.platform} with {instructions.lower()}"
        return _Loaded(None, Status(None, f"the C++ is written for Linux and {supported}; this is {here}"))
    try:
        path = _path(instructions)
        return _Loaded(_open(path), Status(instructions, str(path)))
    except (OSError, NotBuilt) as error:
        log.warning("the C++ operations are not available, so PyTorch's slower ones are used: %s", error)
        return _Loaded(None, Status(None, str(error)))


def _path(instructions: str) -> Path:
    """The file to load. Raises NotBuilt with the reason if there is none."""
    try:
        return checked(SHIPPED, instructions)
    except NotBuilt as error:
        if os.environ.get("SPARSEFUSE_BUILD", "") in ("", "0"):
            raise
        log.info("building C++, once, as %s", error)
    return _cached(instructions)


def _cached(instructions: str) -> Path:
    """The library in the user's cache; built if it is missing."""
    words = "\0".join([*build.command(), *build.LINK, build.sources_hash()])
    folder = cache() / hashlib.sha256(words.encode()).hexdigest()[:16]
    try:
        return checked(folder, instructions, private=True)
    except NotBuilt as error:
        log.info("building %s: %s", folder, error)
    for part in (cache().parent, cache(), folder):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in (cache(), folder):
        _check_safe(part, private=True)
    build.build(folder, [instructions], seconds=build.LIBRARY_SECONDS)
    return checked(folder, instructions, private=True)


def cache() -> Path:
    """The folder of libraries that were built on this machine."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sparsefuse" / "native"


def checked(folder: Path, instructions: str, *, private: bool = False) -> Path:
    """The library in `folder`, if it matches its manifest and no other user could have written either.

    Raises NotBuilt with the reason if not. `private`: others may not even read the folder.
    """
    manifest = folder / MANIFEST
    if not manifest.exists():
        raise NotBuilt(
            f"{folder} has no library; install with a C++ compiler ({build.NEEDED}), or set SPARSEFUSE_BUILD=1"
        )
    _check_safe(folder, private=private)
    _check_safe(manifest)
    try:
        about = json.loads(manifest.read_text(encoding="utf-8"))
        entry = about["libraries"].get(instructions)
        if entry is None:
            reason = about.get("reason", f"there is none for {instructions}")
            raise NotBuilt(f"built without a library: {reason}")
        path, size, digest, made_of = folder / entry["file"], entry["size"], entry["sha256"], about["sources"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotBuilt(f"{manifest} is damaged; {_again()}") from error
    if made_of != build.sources_hash():
        raise NotBuilt(f"{path} was built from other sources; {_again()}")
    if not path.exists():
        raise NotBuilt(f"{path} is missing; {_again()}")
    _check_safe(path)
    content = path.read_bytes()
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        raise NotBuilt(f"{path} is damaged: it differs from {MANIFEST} beside it; {_again()}")
    return path


def _again() -> str:
    return "install sparsefuse again, or set SPARSEFUSE_BUILD=1"


def _check_safe(path: Path, *, private: bool = False) -> None:
    """Raises NotBuilt if `path` belongs to another user, or others may change it (or see it, if `private`)."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise NotBuilt(f"{path} is a link, which is not followed")
    if status.st_uid not in (0, os.getuid()):
        raise NotBuilt(f"{path} belongs to another user ({status.st_uid}), who could change it")
    # Where each user has a group of their own, with the same number, files are often writable for it.
    own_group = status.st_gid == status.st_uid
    forbidden = 0o077 if private else stat.S_IWOTH if own_group else stat.S_IWOTH | stat.S_IWGRP
    if status.st_mode & forbidden:
        raise NotBuilt(f"{path} can be changed by others (mode {stat.S_IMODE(status.st_mode):o}); restrict its mode")


def _open(path: Path) -> ctypes.CDLL:
    """Opens the library, declares its functions and makes it use PyTorch's threads."""
    opened = ctypes.CDLL(str(path))
    for name in FUNCTIONS:
        getattr(opened, name).argtypes = [ctypes.c_char_p]
    opened.block_room.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    opened.use_openmp.argtypes, opened.use_openmp.restype = [ctypes.c_void_p], None
    if functions := _openmp():
        opened.use_openmp(ctypes.byref(functions))
    return opened


def _openmp() -> ctypes.Array[ctypes.c_void_p] | None:
    """Functions of the OpenMP runtime that PyTorch is linked with; None, and one thread, without such a runtime."""
    try:
        linked = ctypes.CDLL(torch._C.__file__)
        functions = [ctypes.cast(getattr(linked, name), ctypes.c_void_p) for name in OPENMP]
    except (OSError, AttributeError):
        return None
    return (ctypes.c_void_p * len(OPENMP))(*functions)
