"""Packages that only some verbs use: an extra of the same purpose brings them, and they are imported on first use."""

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module, metadata
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


def requirements() -> dict[str, list[str]]:
    """Purpose -> the packages that its extra brings, as sparsefuse was installed; "" is what all of it needs.

    Raises PackageNotFoundError if sparsefuse is not installed but imported from a folder.
    """
    found: dict[str, list[str]] = {}
    for line in metadata.requires("sparsefuse") or []:
        package, extra = re.findall(r"^[\w.-]+", line)[0], re.findall(r"extra == ['\"](\w+)", line)
        if not {"all", "dev"} & set(extra):
            found.setdefault("".join(extra), []).append(package)
    return found


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Package -> version, of those that are installed."""
    found = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
