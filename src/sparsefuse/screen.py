"""Where progress is shown: a terminal, a notebook, or a log that takes no control codes."""

from importlib.util import find_spec

from rich.console import Console


def progress_console() -> Console:
    """On stderr; a notebook without ipywidgets, which bars need there, counts as a file: it gets their last state."""
    console = Console(stderr=True)
    if console.is_jupyter and find_spec("ipywidgets") is None:
        return Console(stderr=True, force_jupyter=False, force_terminal=False)  # kernels set FORCE_COLOR
    return console
