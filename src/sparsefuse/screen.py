"""Where progress is shown: a terminal, a notebook, or a log that takes no control codes."""

import os
from importlib.util import find_spec

from rich.console import Console

WIDTH = 240
"""characters of a line where no terminal says how many there are"""


def table_console() -> Console:
    """On stdout; in a file or a pipe, which has no width, tables are not cut to that of a terminal."""
    console = Console()
    limited = console.is_terminal or console.is_jupyter or "COLUMNS" in os.environ
    return console if limited else Console(width=WIDTH)


def progress_console() -> Console:
    """On stderr; a notebook without ipywidgets, which bars need there, counts as a file: it gets their last state."""
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        return Console(stderr=True, force_jupyter=False, force_terminal=False)  # kernels set FORCE_COLOR
    return console
