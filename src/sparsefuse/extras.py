"""Packages that only some verbs use. An extra of the same purpose brings them; they are imported on first use."""

from importlib import import_module
from typing import Any


def need(module: str, extra: str, what: str) -> Any:
    """The module, imported. Raises ImportError with the command that installs what `what` needs."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = "" if absent else f" ({error})"  # it is there, and does not work
        raise ImportError(f"{what} needs {package}: pip install 'sparsefuse[{extra}]'{reason}") from error
