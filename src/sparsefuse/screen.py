"""Where progress is shown: a terminal, a notebook, or a log that takes no control codes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec

from rich.console import Console

_SILENT = ContextVar("silent", default=False)
WIDTH = 240
"""characters of a line where no terminal says how many there are"""


def table_console() -> Console:
    """On stdout; in a file or a pipe, which has no width, tables are not cut to that of a terminal."""
    console = Console()
    limited = console.is_terminal or console.is_jupyter or "COLUMNS" in os.environ
    return console if limited else Console(width=WIDTH)


def progress_console() -> Console:
    """On stderr; a notebook without ipywidgets, which bars need there, counts as a file: it gets their last state."""
    if _SILENT.get():  # no terminal, or bars would send to it what others print meanwhile
        return Console(stderr=True, quiet=True, force_jupyter=False, force_terminal=False)
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        return Console(stderr=True, force_jupyter=False, force_terminal=False)  # kernels set FORCE_COLOR
    return console


def is_watched() -> bool:
    """Whether somebody sees progress: stderr is a terminal, or this is a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or Console(stderr=True).is_jupyter


@contextmanager
def silence(silent: bool = True) -> Iterator[None]:
    """Within, nothing shows progress if `silent`."""
    token = _SILENT.set(silent)
    try:
        yield
    finally:
        _SILENT.reset(token)
