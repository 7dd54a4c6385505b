"""The library for this processor, loaded; or why there is none.

It is shipped in `lib/` beside this file, built with the wheel. With SPARSEFUSE_BUILD=1 it is built by the C++ compiler
at hand where it is missing, once, into the user's cache. Nothing is loaded that somebody else could have written, or
that differs from its manifest: a truncated library ends the process, a foreign one runs its code.
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
"""Functions of the runtime for threads, in the order of `OpenMP` in threads.h."""
log = logging.getLogger(__name__)


class Status(NamedTuple):
    """What runs embedding, attention and blocks on this processor."""

    instructions: str | None
    """AVX512 or AVX2; None if PyTorch's operations do"""
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
    """What is loaded, or why nothing is."""
    return _loaded().status


@functools.cache
def _loaded() -> _Loaded:
    instructions = torch.backends.cpu.get_cpu_capability()
    if sys.platform != "linux" or instructions not in TARGETS:
        known = " or ".join(TARGETS)
        found = f"{sys.platform} with {instructions.lower()}"
        return _Loaded(None, Status(None, f"the C++ is written for Linux and {known}; this is {found}"))
    try:
        path = _found(instructions)
        return _Loaded(_typed(path), Status(instructions, str(path)))
    except (OSError, NotBuilt) as error:
        log.warning("PyTorch's operations run instead of C++, which is faster: %s", error)
        return _Loaded(None, Status(None, str(error)))


def _found(instructions: str) -> Path:
    """The file to load. Raises NotBuilt with the reason if there is none."""
    try:
        return checked(SHIPPED, instructions)
    except NotBuilt as error:
        if os.environ.get("SPARSEFUSE_BUILD", "") in ("", "0"):
            raise
        log.info("building C++, once, as %s", error)
    return _cached(instructions)


def _cached(instructions: str) -> Path:
    """From the user's cache, built if it is not there."""
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
    """The folder of what was built here."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sparsefuse" / "native"


def checked(folder: Path, instructions: str, *, private: bool = False) -> Path:
    """The library in `folder`, if it is as its manifest says and nobody else could have written either.

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
        raise NotBuilt(f"{path} is damaged: it is not what {MANIFEST} beside it says; {_again()}")
    return path


def _again() -> str:
    return "install sparsefuse again, or set SPARSEFUSE_BUILD=1"


def _check_safe(path: Path, *, private: bool = False) -> None:
    """Raises NotBuilt if `path` belongs to somebody else, or others may change it (or see it, if `private`)."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise NotBuilt(f"{path} is a link, which is not followed")
    if found.st_uid not in (0, os.getuid()):
        raise NotBuilt(f"{path} belongs to another user ({found.st_uid}), who could change what it does")
    # Where each user has a group of their own, files are often made for it to write: it has their number.
    own_group = found.st_gid == found.st_uid
    forbidden = 0o077 if private else stat.S_IWOTH if own_group else stat.S_IWOTH | stat.S_IWGRP
    if found.st_mode & forbidden:
        raise NotBuilt(f"{path} can be changed by others (mode {stat.S_IMODE(found.st_mode):o}); take that from them")


def _typed(path: Path) -> ctypes.CDLL:
    """The library with its functions declared, and PyTorch's threads given to it."""
    found = ctypes.CDLL(str(path))
    for name in FUNCTIONS:
        getattr(found, name).argtypes = [ctypes.c_char_p]
    found.block_room.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    found.use_openmp.argtypes, found.use_openmp.restype = [ctypes.c_void_p], None
    if functions := _openmp():
        found.use_openmp(ctypes.byref(functions))
    return found


def _openmp() -> ctypes.Array[ctypes.c_void_p] | None:
    """Functions of the runtime that PyTorch is linked with, whatever its name is; None if there is none: one thread."""
    try:
        linked = ctypes.CDLL(torch._C.__file__)
        found = [ctypes.cast(getattr(linked, name), ctypes.c_void_p) for name in OPENMP]
    except (OSError, AttributeError):
        return None
    return (ctypes.c_void_p * len(OPENMP))(*found)
