"""Parses the target or source of a run: a folder, or a repository of the hub."""

import re
from pathlib import Path

_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
PREFIX = "hub://"
_PATHS = ("./", "../", "~", ".\\", "..\\")


def place(text: str) -> Path | str:
    """A folder as a Path, a repository of the hub, `hub://owner/name`, as `owner/name`.

    Without that prefix nothing is taken for the hub: what begins as a path does, or is a folder that exists. Raises
    ValueError for any other text.
    """
    if text.startswith(PREFIX):
        name = text.removeprefix(PREFIX)
        if not _ON_HUB.fullmatch(name):
            raise ValueError(f"{text!r} is not a repository of the hub; expected {PREFIX}owner/name")
        return name
    path = Path(text).expanduser()
    if path.exists() or path.is_absolute() or text.startswith(_PATHS):
        return path
    name = text.rpartition("://")[2]
    hub = f"{PREFIX}{name}" if _ON_HUB.fullmatch(name) else f"{PREFIX}owner/name"
    raise ValueError(f"there is no folder {text!r}; write {hub} for the hub, or ./{name} for a new folder")
