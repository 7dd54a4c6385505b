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
from collections.abc import Sequence
from pathlib import Path

import torch

from sparsefuse.files import replacing

HERE = Path(__file__).parent
ATTENTION, BLOCK = HERE / "attention.cpp", HERE / "block.cpp"
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


@functools.cache
def library(width: int, dim: int = 0, hidden: int = 0) -> ctypes.CDLL | None:
    """The library for heads of `width` channels; None, and why in the log, where there can be none.

    With a `dim`, for whole blocks of that width, with `hidden` channels in the MLP (0: without it).
    """
    capability = torch.backends.cpu.get_cpu_capability()
    if sys.platform != "linux" or capability not in FOR:  # others were not tried
        return None
    try:
        command = [*compiler(), *FLAGS, *FOR[capability].split(), *shlex.split(os.environ.get("CXXFLAGS", ""))]
        command += [f"-DWIDTH={width}"]
        if not dim:
            return _typed(built(ATTENTION, command, f"attention-{width}"), ["forward", "backward"])
        command += [f"-DDIM={dim}", f"-DHIDDEN={hidden}"]
        path = built(BLOCK, command, f"block-{width}-{dim}-{hidden}")
        return _typed(path, ["block_forward", "block_backward"], ["block_made", "block_flow"])
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


def built(source: Path, command: list[str], name: str) -> Path:
    """The library that `command` makes of `source`, from the cache if it is there. Raises what the compiler says."""
    content = b"".join(path.read_bytes() for path in sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp")]))
    mark = hashlib.sha256("\0".join(command).encode() + content).hexdigest()[:16]
    path = cache() / f"{name}-{mark}.so"
    if not path.exists():
        log.info("building %s, once", path.name)
        with replacing(path) as temporary:
            subprocess.run(
                [*command, str(source), "-o", str(temporary)],
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


def _typed(path: Path, doing: Sequence[str], counting: Sequence[str] = ()) -> ctypes.CDLL:
    """The library with its functions declared, and how many 64-bit numbers they are called with."""
    found = ctypes.CDLL(str(path))
    for name in (*doing, *counting):
        function = getattr(found, name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_int64 if name in counting else None
    found.numbers = ctypes.c_int64.in_dll(found, f"{doing[0]}_numbers").value  # pyright: ignore[reportAttributeAccessIssue]
    return found
