"""Of two processes that would write one folder, the second is told who holds it; a dead one holds nothing."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import tiny
from sparsefuse.cli.app import main
from sparsefuse.features.extract import extract
from sparsefuse.files.lock import LOCK, in_use
from sparsefuse.training.train import train

HOLD = """
import os, sys, time
from sparsefuse.files.lock import in_use
with in_use(sys.argv[1]):
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLD, str(folder), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_second_process_is_told_which_one_holds_the_folder(tmp_path: Path, capsys, monkeypatch) -> None:
    """By every verb that fills a folder, with --resume too; and the folder is left as it is."""
    manifest = tiny.write_set(tmp_path / "data")
    out, config = tmp_path / "out", tiny.config(manifest)
    (tmp_path / "raw.csv").write_text("id,video\na,a.mp4\n")
    with held(out) as process:
        said = rf"out is in use by process {process.pid} on {socket.gethostname()} since 20\d\d-.*; wait until it ends"
        for resume in (False, True):
            with pytest.raises(FileExistsError, match=said):
                train(config, out, root=Path(), resume=resume)
        with pytest.raises(FileExistsError, match=said):
            extract(tmp_path / "raw.csv", out, jobs=1)
        monkeypatch.setattr("sys.argv", ["sparsefuse", "compare", "--data.manifest", str(manifest), "--out", str(out)])
        with pytest.raises(SystemExit, match=said):
            main()
        assert [path.name for path in out.iterdir()] == [LOCK]


@pytest.mark.parametrize("words", [(), ("fork",)], ids=["alone", "with a worker that lives on"])
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path, words: tuple[str, ...]) -> None:
    with held(tmp_path / "out", *words) as process:
        process.kill()
        process.wait()
        assert (tmp_path / "out" / LOCK).exists()
        with in_use(tmp_path / "out"):
            pass
        assert not (tmp_path / "out" / LOCK).exists()


def test_a_process_keeps_itself_out_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for name in ("kept", "new/deep"):
        with in_use(tmp_path / name):
            with pytest.raises(FileExistsError, match="is in use by this process"), in_use(tmp_path / "x/.." / name):
                pass
            assert (tmp_path / name / LOCK).exists()
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path: Path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with in_use(tmp_path / "out"):
        assert "out cannot be locked here ([Errno 37] No locks available)" in caplog.text
    assert not (tmp_path / "out").exists()
