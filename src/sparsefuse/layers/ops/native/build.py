"""C++ source to libraries, one per instruction set, with a manifest beside them: `python build.py` fills `lib/`.

It imports only the standard library, so that `hatch_build.py` can run it while a wheel is built.
"""

import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MANIFEST = "manifest.json"
COMPILERS = ("c++", "g++", "clang++")
NEEDED = "GCC 12 or Clang 15"
FLAGS = ("-std=c++20", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-Wno-psabi")
# errno, traps and the sign of zero are not needed and cost a few percent. Infinity and NaN stay as they are.
FLAGS += ("-funroll-loops", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros")
FLAGS += ("-fno-tree-loop-distribute-patterns",)  # rows are too short for a call of memcpy
LINK = ("-Wl,--as-needed", "-Wl,--no-undefined")
TARGETS = {
    "AVX512": "-DLANES=16 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512",
    # Vectors are written out. GCC 12 compiles loops over them wrongly here, with heads of 16.
    "AVX2": "-DLANES=8 -mavx2 -mfma -fno-tree-loop-vectorize",
}
"""Flags by PyTorch's name of the instruction set."""
PROBE = """
typedef float Vec __attribute__((vector_size(32)));
struct Pair { int some = 1; Vec vec{}; };
Vec swapped(Vec a) { Pair pair{.vec = a}; return __builtin_shufflevector(pair.vec, a, 1, 0, 3, 2, 5, 4, 7, 6); }
"""
PROBE_SECONDS = 10
LIBRARY_SECONDS = 60
"""Time limit for the compiler at first use; one library takes eight on one core."""
WHEEL_SECONDS = 300
"""Time limit while a wheel is built."""


class NotBuilt(RuntimeError):
    """Why there is no library, in one sentence."""


def sources() -> list[Path]:
    """The source files."""
    return sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp")])


def sources_hash() -> str:
    """SHA-256 of their names and contents."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def compiler() -> list[str]:
    """The command of the C++ compiler: CXX, or the first that is installed."""
    if os.environ.get("CXX"):
        return _words("CXX")
    name = next(filter(shutil.which, COMPILERS), None)
    if name is None:
        raise NotBuilt(f"no C++ compiler among {', '.join(COMPILERS)}; install {NEEDED}, or name one in CXX")
    return [name]


def command() -> list[str]:
    """Compiler and flags, without those of an instruction set."""
    return [*compiler(), *FLAGS, *_words("CXXFLAGS")]


def build(folder: Path, targets: Iterable[str] = TARGETS, *, seconds: float) -> dict[str, Any]:
    """Libraries for `targets` and their manifest, in `folder`; returns the manifest. Raises NotBuilt.

    `seconds`: time limit for each.
    """
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise NotBuilt(f"the C++ is written for x86-64 and Linux; this is {platform.machine()} and {sys.platform}")
    compile_with = command()
    _probe(compile_with)
    folder.mkdir(parents=True, exist_ok=True)

    def one(target: str) -> dict[str, Any]:
        path = folder / f"native-{target.lower()}.so"
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as room:
            built = Path(room) / path.name
            _run([*compile_with, *TARGETS[target].split(), *LINK, str(HERE / "native.cpp"), "-o", str(built)], seconds)
            built.chmod(0o755)
            content = built.read_bytes()
            os.replace(built, path)
        return {"file": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    targets = list(targets)
    with ThreadPoolExecutor() as pool:
        libraries = dict(zip(targets, pool.map(one, targets), strict=True))
    return write_manifest(folder, {"libraries": libraries})


def write_manifest(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest of the libraries; or, as `reason`, why there are none."""
    about = {"sources": sources_hash(), "libraries": {}, **about}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{MANIFEST}.{os.getpid()}"
    temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, folder / MANIFEST)
    return about


def glibc(paths: Iterable[Path]) -> int:
    """The glibc 2.x that libraries need. Raises NotBuilt if they need a compiler's runtime."""
    newest = 17  # of the oldest general tag for Linux wheels
    for path in paths:
        content = path.read_bytes()
        if other := re.search(rb"\b(GLIBCXX_|GOMP_|libgomp)", content):
            raise NotBuilt(f"{path.name} needs a runtime of the compiler ({other[0].decode()})")
        newest = max([newest, *(int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", content))])
    return newest


def _words(variable: str) -> list[str]:
    try:
        return shlex.split(os.environ.get(variable, ""))
    except ValueError as error:
        raise NotBuilt(f"{variable} cannot be read: {error} in {os.environ[variable]!r}") from error


def _probe(compile_with: Sequence[str]) -> None:
    """Raises NotBuilt unless the compiler runs and supports the language features of the source."""
    with tempfile.TemporaryDirectory() as room:
        source = Path(room) / "probe.cpp"
        source.write_text(PROBE, encoding="utf-8")
        try:
            _run([*compile_with, "-mavx2", "-c", str(source), "-o", str(Path(room) / "probe.o")], PROBE_SECONDS)
        except NotBuilt as error:
            raise NotBuilt(f"{error} ({NEEDED} is needed)") from error


def _run(words: Sequence[str], seconds: float) -> None:
    """Raises NotBuilt with the first error in the output; after `seconds` the command and its children are killed."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise NotBuilt(f"{words[0]} cannot be run: {error.strerror}") from error
        try:
            code = process.wait(seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise NotBuilt(f"{words[0]} took more than {seconds:g} s and was ended") from error
            raise
        if code:
            output.seek(0)
            lines = output.read().decode(errors="replace").split("\n")
            first = next((line for line in lines if "error" in line), lines[0])
            raise NotBuilt(f"{words[0]} failed: {first.strip() or f'exit status {code}'}")


if __name__ == "__main__":
    try:
        build(HERE / "lib", seconds=WHEEL_SECONDS)
    except NotBuilt as error:
        sys.exit(str(error))
