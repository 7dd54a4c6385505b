"""Locks on folders: while one process writes a folder, a second one that would is told who does, and stops."""

import errno
import json
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
_log = logging.getLogger(__name__)
_ours: set[Path] = set()
"""the folders that this process holds: the system's locks keep out other processes alone"""


@contextmanager
def in_use(folder: str | Path) -> Iterator[None]:
    """Holds the folder, which is made if it is not there, and gone again if nothing was put into it.

    Raises FileExistsError, saying which process holds it and since when, if another one does. The system frees the lock
    of a process that died, so that it stops nobody.
    """
    folder = Path(folder)
    place = folder.resolve()
    if place in _ours:
        raise FileExistsError(f"{folder} is in use by this process; wait until it ends, or give another folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    file = _locked(folder)
    _ours.add(place)
    try:
        yield
    finally:
        _ours.discard(place)
        (folder / LOCK).unlink(missing_ok=True)
        os.close(file)
        with suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _locked(folder: Path) -> int:
    """The open lock file, with what a second process would say of this one."""
    path = folder / LOCK
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl

            # Unlike `flock`, not inherited by forked workers, which outlive a killed process by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (OSError, ImportError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EAGAIN):
                with open(file, encoding="utf-8", errors="replace") as opened:
                    raise FileExistsError(f"{folder} is in use by {_holder(opened.read(10_000))}") from error
            _log.warning("%s cannot be locked here (%s): do not let another process write to it", folder, error)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                break
        os.close(file)  # of a process that ended in between, and removed it
    who = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(file, 0)
    os.write(file, json.dumps({**who, "command": shlex.join(sys.argv)[:200]}).encode())
    return file


def _holder(text: str) -> str:
    try:
        who = json.loads(text)
        name = f"process {who['process']} on {who['host']} since {who['since']} ({who['command']})"
    except (ValueError, KeyError, TypeError):  # it has not written it yet
        name = "another process"
    return f"{name}; wait until it ends, or give another folder"
