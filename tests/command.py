"""The command line, called in this process."""

import sys

import pytest

from sparsefuse.cli import app


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str:
    """Runs the command in this process; gives its exit code, or the text it ends with."""
    monkeypatch.setattr(sys, "argv", ["sparsefuse", *map(str, arguments)])
    try:
        app.main()
    except SystemExit as ended:
        return ended.code if ended.code is not None else 0
    return 0
