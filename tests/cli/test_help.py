"""How --help words an option."""

import re
from pathlib import Path
from typing import Literal

import pytest
from jsonargparse import ArgumentParser

from sparsefuse.cli.help import HelpFormatter


def _help(**argument: object) -> str:
    parser = ArgumentParser(formatter_class=HelpFormatter)
    parser.add_argument("--it", help="what it is", **argument)
    text = " ".join(parser.format_help().split())
    return text[text.index("what it is") :]


def test_types_are_plain_words():
    assert _help(type=int, default=3) == "what it is (type: whole number, default: 3)"
    assert _help(type=Path, default=Path("runs")) == "what it is (type: path, default: runs)"
    assert _help(type=list[int], default=[0]) == "what it is (type: whole numbers, as [1,2], default: [0])"


def test_no_default_is_said_where_there_is_none():
    assert _help(type=float | None, default=None) == "what it is (type: number)"
    assert _help(type=str, default="") == "what it is (type: text)"
    assert _help(action="store_true") == "what it is"


def test_what_python_would_write_long_is_left_out():
    assert _help(type=Literal["a", "b"], default="a") == "what it is (default: a)"
    assert _help(type=dict[str, int] | str, default="raw") == "what it is (default: raw)"


@pytest.mark.slow
def test_no_verb_shows_types_of_python(monkeypatch, capsys):
    from command import call
    from sparsefuse.cli.verbs import VERBS

    for verb in VERBS:
        assert call(monkeypatch, verb, "--help") == 0
        told = capsys.readouterr().out
        assert not re.search(r"type: [^)]*(\[str|\bstr\b|\bint\b|null|Union|Literal|<class)", told), verb
