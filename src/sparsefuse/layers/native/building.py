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

import torch

from sparsefuse.files import replacing

SOURCE = Path(__file__).with_name("attention.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++20", "-O3", "-shared", "-fPIC", "-fopenmp", "-Wno-psabi")
# By what torch found of the processor, not -march=native: a cache may be shared by several machines.
FOR = {
    "AVX512": "-DLANES=16 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512",
    "AVX2": "-DLANES=8 -mavx2 -mfma",
}
SECONDS = 120
log = logging.getLogger(__name__)


@functools.cache
def library(width: int) -> ctypes.CDLL | None:
    """The library for heads of `width` channels; None, and why in the log, where there can be none."""
    capability = torch.backends.cpu.get_cpu_capability()
    if sys.platform != "linux" or capability not in FOR:  # others were not tried
        return None
    try:
        path = built([*compiler(), *FLAGS, *FOR[capability].split(), f"-DWIDTH={width}"], f"attention-{width}")
        return _typed(ctypes.CDLL(str(path)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        log.warning("attention on PyTorch's operations, which is slower: %s", told.strip())
        return None


def compiler() -> list[str]:
    """The command of the C++ compiler: what CXX says, or the first that is found. Raises RuntimeError if none is."""
    if given := os.environ.get("CXX"):
        return shlex.split(given)
    found = next(filter(shutil.which, COMPILERS), None)
    if found is None:
        raise RuntimeError(f"no C++ compiler among {', '.join(COMPILERS)}; install one, or name it in CXX")
    return [found]


def built(command: list[str], name: str) -> Path:
    """The library that `command` makes of the source, from the cache if it is there. Raises what the compiler says."""
    mark = hashlib.sha256("\0".join(command).encode() + SOURCE.read_bytes()).hexdigest()[:16]
    path = cache() / f"{name}-{mark}.so"
    if not path.exists():
        log.info("building %s, once", path.name)
        with replacing(path) as temporary:
            all_of_it = [*command, str(SOURCE), "-o", str(temporary)]
            subprocess.run(all_of_it, check=True, capture_output=True, text=True, timeout=SECONDS)
    return path


def cache() -> Path:
    """The folder of what was built."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sparsefuse" / "native"


def _typed(found: ctypes.CDLL) -> ctypes.CDLL:
    for function in (found.forward, found.backward):
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return found
