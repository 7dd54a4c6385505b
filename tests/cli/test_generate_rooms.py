"""The verb that generates rooms, in both spellings."""

import pytest

from command import call


@pytest.mark.parametrize("verb", [["generate", "rooms"], ["generate-rooms"]])
def test_rooms_are_generated_from_the_command_line(tmp_path, monkeypatch, capsys, verb):
    out = tmp_path / "set"
    flags = ["--scenes", 2, "--size", 16, "--fractions", "0.5,0.5,0", "--jobs", 1]
    assert call(monkeypatch, *verb, "--out", out, *flags) == 0
    assert capsys.readouterr().out.strip() == str(out / "manifest.csv")
    assert "room_000001,valid," in (out / "manifest.csv").read_text()


def test_a_wrong_size_is_said_in_one_line(tmp_path, monkeypatch):
    assert call(monkeypatch, "generate", "rooms", "--out", tmp_path / "set", "--size", 5) == (
        "error: size must be a whole number of 16 to 1024; got 5"
    )


def test_without_a_folder_the_right_help_is_named(monkeypatch, capsys):
    assert call(monkeypatch, "generate", "rooms") == 2
    assert capsys.readouterr().err == "error: missing: --out\nhelp:  sparsefuse generate-rooms --help\n"
