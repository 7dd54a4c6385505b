"""Parses the target or source of a run: a folder, or a name on the hub."""

import re
from pathlib import Path

_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
PREFIX = "hf://"


def place(text: str) -> Path | str:
    """A folder as a Path, a repository of the hub as `owner/name`.

    `hf://owner/name` is the hub, as is `owner/name` if there is no folder of that name; all else is a folder. Raises
    ValueError if `owner/name` might mean a new folder, so that nothing private is published by mistake.
    """
    if text.startswith(PREFIX):
        name = text.removeprefix(PREFIX)
        if not _ON_HUB.fullmatch(name):
            raise ValueError(f"{text!r} is not a repository of the hub; expected {PREFIX}owner/name")
        return name
    path = Path(text).expanduser()
    if path.exists() or not _ON_HUB.fullmatch(text):
        return path
    if path.parent.is_dir():
        raise ValueError(
            f"{text!r} may be a new folder in {path.parent}, or a repository of the hub; write ./{text} or "
            f"{PREFIX}{text}"
        )
    return text
