"""C++ source in, a loaded library out. What is built stays in the user's cache."""

import ctypes
import functools
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from sparsefuse.files.whole import replacing

HERE = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++20", "-O3", "-shared", "-fPIC", "-fopenmp", "-Wno-psabi")
# What nobody asks of numbers here costs a few percent. Infinities and what is no number stay as they are.
FLAGS += ("-funroll-loops", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros")
# By what torch found of the processor, not -march=native: a cache may be shared by several machines.
FOR = {
    "AVX512": "-DLANES=16 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512",
    "AVX2": "-DLANES=8 -mavx2 -mfma",
}
SECONDS = 120
log = logging.getLogger(__name__)


class Source(NamedTuple):
    """What is in a file of C++."""

    sizes: tuple[str, ...]
    """what it is built for"""
    doing: tuple[str, ...]
    """functions; what they are called with is counted under the first one's name"""
    counting: tuple[str, ...] = ()
    """functions that say how much room those need"""


SOURCES = {
    "attention": Source(("WIDTH",), ("forward", "backward")),
    "embed": Source(("DIM",), ("embed_forward", "embed_backward")),
    "block": Source(("WIDTH", "DIM", "HIDDEN"), ("block_forward", "block_backward"), ("block_made", "block_flow")),
}


@functools.cache
def library(name: str, *sizes: int) -> ctypes.CDLL | None:
    """The library of one of `SOURCES` for these sizes; None, and why in the log, where there can be none."""
    capability = torch.backends.cpu.get_cpu_capability()
    if sys.platform != "linux" or capability not in FOR:  # others were not tried
        return None
    try:
        command = [*compiler(), *FLAGS, *FOR[capability].split(), *shlex.split(os.environ.get("CXXFLAGS", ""))]
        command += [f"-D{size}={value}" for size, value in zip(SOURCES[name].sizes, sizes, strict=True)]
        return _typed(built(name, command, *sizes), SOURCES[name])
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        _tell(told.strip())
        return None


@functools.cache
def _tell(why: str) -> None:
    """Once, for however many libraries."""
    log.warning("PyTorch's operations for C++ of ours, which is slower: %s", why)


def compiler() -> list[str]:
    """The command of the C++ compiler: what CXX says, or the first that is found. Raises RuntimeError if none is."""
    if given := os.environ.get("CXX"):
        return shlex.split(given)
    found = next(filter(shutil.which, COMPILERS), None)
    if found is None:
        raise RuntimeError(f"no C++ compiler among {', '.join(COMPILERS)}; install one, or name it in CXX")
    return [found]


def built(name: str, command: list[str], *sizes: int) -> Path:
    """The library that `command` makes of a source, from the cache if it is there. Raises what the compiler says."""
    content = b"".join(path.read_bytes() for path in sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp")]))
    mark = hashlib.sha256("\0".join(command).encode() + content).hexdigest()[:16]
    path = cache() / f"{'-'.join(map(str, [name, *sizes, mark]))}.so"
    if not path.exists():
        log.info("building %s, once", path.name)
        with replacing(path) as temporary:
            subprocess.run(
                [*command, str(HERE / f"{name}.cpp"), "-o", str(temporary)],
                check=True,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
    return path


def cache() -> Path:
    """The folder of what was built."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sparsefuse" / "native"


def _typed(path: Path, source: Source) -> ctypes.CDLL:
    """The library with its functions declared, and how many 64-bit numbers they are called with."""
    found = ctypes.CDLL(str(path))
    for name in (*source.doing, *source.counting):
        function = getattr(found, name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int64 if name in source.counting else None
    numbers = ctypes.c_int64.in_dll(found, f"{source.doing[0]}_numbers")
    found.numbers = numbers.value  # pyright: ignore[reportAttributeAccessIssue]
    return found
