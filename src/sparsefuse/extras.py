"""Packages that only some verbs use: an extra of the same purpose brings them, and they are imported on first use."""

import json
import re
import shlex
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname


def need(module: str, extra: str, what: str) -> Any:
    """The module, imported. Raises ImportError with the command that installs what `what` needs."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        reason = "" if absent else f" ({error})"  # it is there, and does not work
        raise ImportError(f"{what} needs {package}: {install_command(extra)}{reason}") from error


def install_command(extra: str) -> str:
    """The command that adds an extra to sparsefuse as it was installed, from a checkout (`pip install -e '.[serve]'` in
    its folder), a wheel or an index."""
    origin = _origin()
    url = urlsplit(origin.get("url", ""))
    path = Path(url2pathname(url.path))
    if url.scheme == "file" and (path / "pyproject.toml").is_file():
        editable = ["-e"] * bool(origin.get("dir_info", {}).get("editable"))
        return shlex.join(["pip", "install", *editable, f"{'.' if path == Path.cwd() else path}[{extra}]"])
    wheel = f" @ {url.geturl()}" if url.scheme == "file" and path.is_file() else ""
    return shlex.join(["pip", "install", f"sparsefuse[{extra}]{wheel}"])


def _origin() -> dict[str, Any]:
    """What pip noted of a folder or file that it installed sparsefuse from; empty if that was an index."""
    try:
        return json.loads(metadata.distribution("sparsefuse").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # imported from a folder
        return {}


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
