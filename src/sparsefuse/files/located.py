"""Paths as files of a folder hold them: relative to that folder, so that they lead there from any current one."""

import os
from pathlib import Path


def relative(path: str, folder: Path) -> str:
    """A path relative to the current folder as one relative to `folder`; an absolute one, and none, stay."""
    return path if os.path.isabs(path) or not path else os.path.relpath(path, os.path.realpath(folder))


def located(path: str, folder: Path) -> str:
    """A path that `relative` made as one relative to the current folder, or absolute if `folder` is. One that leads
    from the current folder only, as older versions wrote them, stays, as does a bare one of a file that is gone."""
    inside = os.path.normpath(os.path.join(os.path.realpath(folder), path))
    if os.path.isabs(path) or not path:
        return path
    if not os.path.exists(inside) and (os.path.exists(path) or not path.startswith("..")):
        return path
    return inside if os.path.isabs(folder) else os.path.relpath(inside)
