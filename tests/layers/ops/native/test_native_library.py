"""The library is loaded only if it is whole and ours; otherwise PyTorch runs, and one sentence says why."""

import logging
import os
import re
import shutil
import stat
import time
from pathlib import Path

import pytest
import torch

from sparsefuse.layers import ops
from sparsefuse.layers.ops import native
from sparsefuse.layers.ops.native import arguments, build, library
from sparsefuse.layers.ops.native.arguments import AttentionArguments, BlockArguments, EmbedArguments

INSTRUCTIONS = torch.backends.cpu.get_cpu_capability()
runs = pytest.mark.skipif(library.library() is None, reason=f"{library.status()}")
compiles = pytest.mark.skipif(
    library.library() is None or os.environ.get("CXX") is not None or not any(map(shutil.which, build.COMPILERS)),
    reason="no C++ compiler here",
)


@pytest.fixture(autouse=True)
def _forget():
    yield
    library._loaded.cache_clear()


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("SPARSEFUSE_BUILD", "CXX", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """A copy of what is shipped, in use; its library."""
    folder = tmp_path / "lib"
    shutil.copytree(library.SHIPPED, folder)
    folder.chmod(0o755)
    monkeypatch.setattr(library, "SHIPPED", folder)
    return folder / f"native-{INSTRUCTIONS.lower()}.so"


def said():
    """What is said when it is loaded anew."""
    library._loaded.cache_clear()
    return str(library.status())


@runs
def test_what_is_shipped_is_loaded(shipped):
    assert said() == f"C++ for {INSTRUCTIONS}, {shipped}"


def truncate(path):
    rewrite(path, path.read_bytes()[: path.stat().st_size // 2])


def change_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    rewrite(path, content)


def rewrite(path, content):
    """As another file, for this process may have loaded the one that was there."""
    path.unlink()
    path.write_bytes(content)


def replace_by_a_link(path):
    path.rename(path.with_suffix(".old"))
    path.symlink_to(path.with_suffix(".old"))


@runs
@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (truncate, "is damaged: it differs from manifest.json beside it; install sparsefuse again"),
        (change_a_byte, "is damaged: it differs from manifest.json beside it"),
        (lambda path: rewrite(path, b""), "is damaged"),
        (lambda path: path.unlink(), "is missing; install sparsefuse again"),
        (lambda path: path.chmod(0o777), "can be changed by others (mode 777)"),
        (lambda path: path.parent.chmod(0o777), "can be changed by others (mode 777)"),
        (lambda path: (path.parent / "manifest.json").chmod(0o666), "can be changed by others (mode 666)"),
        (lambda path: os.chown(path, 12345, -1), "belongs to another user (12345)"),
        (lambda path: os.chown(path.parent, 12345, -1), "belongs to another user (12345)"),
        (lambda path: (os.chown(path, -1, 12345), path.chmod(0o775)), "can be changed by others (mode 775)"),
        (replace_by_a_link, "is a link"),
        (lambda path: (path.parent / "manifest.json").write_text('{"libraries": {'), "manifest.json is damaged"),
        (lambda path: (path.parent / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda path: build.write_manifest(path.parent, {"reason": "no C++ compiler"}), "library: no C++ compiler"),
        (lambda path: (path.parent / "manifest.json").unlink(), "has no library; install with a C++ compiler"),
    ],
)
def test_what_is_damaged_or_not_ours_is_not_loaded(harm, why, shipped, monkeypatch):
    monkeypatch.setattr(library.ctypes, "CDLL", lambda path: pytest.fail("loaded"))
    try:
        harm(shipped)
    except PermissionError:
        pytest.skip("only root can give files away")
    assert said().startswith("PyTorch alone: ")
    assert why in said()
    assert "\n" not in said()


@runs
def test_a_library_of_other_sources_is_not_loaded(shipped, monkeypatch):
    monkeypatch.setattr(build, "sources_hash", lambda: "0")
    assert "was built from other sources; install sparsefuse again, or set SPARSEFUSE_BUILD=1" in said()


@runs
def test_a_group_of_ones_own_may_write(shipped):
    """As files are made where each user has one."""
    shipped.chmod(0o775)
    assert (INSTRUCTIONS in said()) == (shipped.stat().st_uid == shipped.stat().st_gid)


@runs
def test_without_a_library_the_same_comes_out_and_the_log_says_why_once(shipped, caplog):
    q, k, v = torch.randn(3, 2, 3, 9, 4)
    mask = torch.ones(2, 9, dtype=torch.bool)
    assert ops.choose("attention", q, k, v, mask, pattern="dense") is native
    here = ops.attention(q, k, v, mask)
    truncate(shipped)
    library._loaded.cache_clear()
    with caplog.at_level(logging.WARNING):
        there = [ops.attention(q, k, v, mask) for _ in range(2)]
    assert caplog.text.count("is damaged") == 1
    assert there[0].equal(torch.nn.functional.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(there[0], here)


@pytest.mark.parametrize(
    ("machine", "why"), [("DEFAULT", "AVX512 or AVX2; this is linux with default"), ("NO AVX", "linux with no avx")]
)
def test_other_processors_are_named(machine, why, monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: machine)
    assert why in said()
    assert not caplog.text  # nothing can be done


# ------------------------------------------------------------------------------------------------ building


@pytest.fixture
def building(monkeypatch, tmp_path):
    """As nothing is shipped, it is built; the folder of what is built."""
    monkeypatch.setenv("SPARSEFUSE_BUILD", "1")
    monkeypatch.setenv("CXXFLAGS", "-O0")
    monkeypatch.setattr(library, "SHIPPED", tmp_path / "nothing")
    return tmp_path / "cache" / "sparsefuse" / "native"


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_nothing_is_built_that_was_not_asked_for(building, monkeypatch, tmp_path):
    monkeypatch.delenv("SPARSEFUSE_BUILD")
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", f"/bin/touch {tmp_path}/called"))
    assert "has no library" in said()
    assert not (tmp_path / "called").exists()
    assert not building.exists()


@pytest.mark.slow
@compiles
def test_it_is_built_once_for_its_user_alone_and_again_if_damaged(building, monkeypatch):
    old = os.umask(0o002)
    try:
        assert said().startswith(f"C++ for {INSTRUCTIONS}, {building}")
    finally:
        os.umask(old)
    (folder,) = building.iterdir()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (building, folder)} == {0o700}
    assert {path.name for path in folder.iterdir()} == {"manifest.json", f"native-{INSTRUCTIONS.lower()}.so"}
    calls, run = [], build._run
    monkeypatch.setattr(build, "_run", lambda *given: (calls.append(given), run(*given)))
    assert said().startswith("C++")
    assert not calls
    truncate(folder / f"native-{INSTRUCTIONS.lower()}.so")
    assert said().startswith("C++")
    assert calls


@runs
def test_a_cache_that_others_can_open_is_not_used(building, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", "exit 0"))
    building.mkdir(parents=True)
    building.chmod(0o755)
    assert f"{building} can be changed by others (mode 755)" in said()


@runs
@pytest.mark.parametrize("variable", ["CXX", "CXXFLAGS"])
def test_an_unbalanced_quote_is_one_sentence(variable, building, monkeypatch):
    monkeypatch.setenv("CXX", "g++")
    monkeypatch.setenv(variable, "g++ '-O2")
    assert f'{variable} cannot be read: No closing quotation in "g++ \'-O2"' in said()


@runs
def test_a_compiler_that_hangs_is_ended_with_its_children(building, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "PROBE_SECONDS", 0.5)
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", f"/bin/sleep 600 & echo $! > {tmp_path}/child; wait"))
    begin = time.monotonic()
    assert f"{tmp_path}/cxx took more than 0.5 s and was ended" in said()
    assert time.monotonic() - begin < 5
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 5
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not child.exists() or child.read_text().split()[2] == "Z"


@runs
def test_a_compiler_that_hangs_later_is_ended_too(building, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "LIBRARY_SECONDS", 0.5)
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", 'case "$*" in *native.cpp*) /bin/sleep 600;; esac'))
    assert f"{tmp_path}/cxx took more than 0.5 s and was ended" in said()


@runs
@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        (
            "/nonexistent/g++",
            "/nonexistent/g++ cannot be run: No such file or directory (GCC 12 or Clang 15 is needed)",
        ),
        ("/bin/false", "/bin/false failed: exit status 1 (GCC 12 or Clang 15 is needed)"),
    ],
)
def test_a_compiler_that_cannot_is_one_sentence(compiler, why, building, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    assert why in said()


@runs
def test_an_old_compiler_is_told_from_a_new_one(building, monkeypatch, tmp_path):
    old = "echo 'probe.cpp:4: error: __builtin_shufflevector was not declared' >&2; exit 1"
    monkeypatch.setenv("CXX", script(tmp_path / "cxx", old))
    assert "__builtin_shufflevector was not declared (GCC 12 or Clang 15 is needed)" in said()


@runs
def test_no_compiler_is_one_sentence(building, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert "no C++ compiler among c++, g++, clang++; install GCC 12 or Clang 15, or name one in CXX" in said()


@pytest.mark.slow
@compiles
def test_nothing_half_built_stays(building, monkeypatch):
    monkeypatch.setitem(build.TARGETS, INSTRUCTIONS, "-DLANES=nonsense")
    assert "nonsense" in said()
    assert not [path for folder in building.iterdir() for path in folder.iterdir()]


# ----------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize("mirror", [AttentionArguments, BlockArguments, EmbedArguments])
def test_structs_have_the_same_fields(mirror):
    header = re.sub(r"//.*", "", (build.HERE / "arguments.h").read_text())
    body = re.search(rf"struct {mirror.__name__} \{{(.*?)\}};", header, re.DOTALL)
    assert body is not None
    lines = re.findall(r"(?:const )?(?:int64_t|double|float|Kind|View|BlockWeights) ([^;]+);", body[1])
    names = [re.sub(r"\[.*|\W", "", name) for line in lines for name in line.split(",")]
    assert names == ["size", "version", *mirror._fields]


@runs
@pytest.mark.parametrize("name", library.FUNCTIONS)
def test_other_layouts_are_refused(name):
    found = library.library()
    assert found is not None
    for size, version in [(0, arguments.VERSION), (1 << 20, arguments.VERSION)]:
        packed = arguments.Struct("500q").pack(size, version, *[0] * 498)
        with pytest.raises(RuntimeError, match="built for other arguments"):
            arguments.run(found, name, packed)


@runs
def test_another_version_and_other_sizes_are_refused():
    found = library.library()
    assert found is not None
    wide = AttentionArguments(0, 1, 1, 17, 1, 1, 0, 0, 1, 0, 0, 0, 0, [0] * 48).packed()
    with pytest.raises(RuntimeError, match="not supported"):
        arguments.run(found, "attention_forward", wide)
    other = bytearray(wide)
    other[8:16] = (arguments.VERSION + 1).to_bytes(8, "little")
    with pytest.raises(RuntimeError, match="built for other arguments"):
        arguments.run(found, "attention_forward", bytes(other))


@runs
def test_it_needs_nothing_but_the_c_library():
    """No second runtime for threads beside PyTorch's, none of the compiler."""
    content = library.checked(library.SHIPPED, INSTRUCTIONS).read_bytes()
    assert set(re.findall(rb"\0(lib[\w+.-]+\.so[.\d]*)", content)) <= {b"libc.so.6", b"libm.so.6"}
    assert library._openmp() is not None
