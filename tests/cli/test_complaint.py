"""What the command line says of what it cannot use."""

import sys

import pytest

from command import call
from sparsefuse.cli.app import _Parser


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "no command given; try `sparsefuse demo`, or choose one of those that --help lists"),
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["train", "--learning_rate", "3"], "unknown option '--learning-rate'; did you mean '--train.lr'?"),
        (["fit", "--lr", "3"], "unknown option '--lr'; `sparsefuse train` has '--train.lr'"),
        (["train", "--train.learning-rate", "3"], "unknown option '--train.learning_rate'; did you mean '--train.lr'?"),
        (["train", "--lr", "3"], "unknown option '--lr'; did you mean '--train.lr'?"),
        (["train", "--train.batchsize", "3"], "unknown option '--train.batchsize'; did you mean '--train.batch_size'?"),
        (["serve", "a", "--trust_cod"], "unknown option '--trust-cod'; did you mean '--trust-code'?"),
        (["train", "--train.epochs", "three"], "--train.epochs needs a whole number; got 'three'"),
        (["train", "--train.lr", "fast"], "--train.lr needs a number; got 'fast'"),
        (["predict", "a", "b", "--window", "x"], "--window needs a number; got 'x'"),
        (["cost", "--lengths", "rgb"], "--lengths needs name=value pairs separated by commas; got 'rgb'"),
        (["compare", "x.csv", "--seeds", "a"], "--seeds needs a whole number; got 'a'"),
        (["train", "--data.task", "clas"], "unknown --data.task 'clas'; did you mean 'class'?"),
        (["train", "--features.rgb=3"], "--features needs options below each name; got \"{'rgb': 3}\""),
        (["train", "--features=3"], "unknown --features '3'. available: auto, raw, raw,auto"),
        (["train", "--data.axes={rgb: 3}"], "--data.axes needs options below each name; got '3'"),
        (["train", "--data.pictures={rgb: {height: x}}"], "--data.pictures.NAME.height needs a whole number; got 'x'"),
        (["train", "--data.split.fractions=3"], "--data.split.fractions needs 3 values separated by commas; got '[3]'"),
        (["extract", "a", "b"], "unexpected argument 'b'"),
        (["train", "x.csv", "--resume=yes"], "unexpected argument 'yes'"),
    ],
)
def test_it_is_said_in_the_words_of_who_typed_it(monkeypatch, capsys, typed: list[str], message: str) -> None:
    assert call(monkeypatch, *typed) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {message}")
    assert last.startswith("help:  sparsefuse")


@pytest.mark.parametrize("typed", ["--train.epoch", "--meth", "--train.b"])
def test_a_prefix_is_not_an_option(monkeypatch, capsys, typed: str) -> None:
    assert call(monkeypatch, "train", "x.csv", typed, "3") == 2
    assert f"unknown option '{typed}'" in capsys.readouterr().err


def test_help_writes_options_as_they_are_typed(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "predict", "--help") == 0
    text = capsys.readouterr().out
    assert "--trust-code" in text
    assert "--trust_code" not in text
    assert "list[Path]" not in text
    assert call(monkeypatch, "train", "--help") == 0
    assert "--train.batch_size" in capsys.readouterr().out  # as in a YAML


def test_every_parser_is_of_sparsefuse(monkeypatch) -> None:
    """Also those of nested values, which have no name of their own: `python -m sparsefuse` runs __main__.py."""
    monkeypatch.setattr(sys, "argv", ["__main__.py"])
    assert _Parser().prog == "sparsefuse"
