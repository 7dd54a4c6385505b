"""Texts of strangers are cut and stay text."""

import pytest

from sparsefuse.errors import unknown
from sparsefuse.shown import markdown, shown


def test_a_long_text_keeps_its_ends() -> None:
    assert shown("a" * 50 + "b" * 50, 11) == "aaaa...bbbb"
    assert shown("x" * 80) == "x" * 80
    assert len(shown("x" * 10**7)) == 80


def test_control_letters_and_hidden_ones_are_seen() -> None:
    assert shown("a\x1b[31m\n\u202eb") == "a?[31m??b"


def test_an_error_about_a_name_stays_short_whatever_the_names() -> None:
    long, many = "x" * 10**7, [f"{i:04}" + "y" * 10**4 for i in range(1000)]
    assert len(unknown("column", long, ["a"])) < 200
    found = unknown("column", "z", many)
    assert len(found) < 60 * 70
    assert found.endswith(" and 940 more")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain - text_1, 2.5", r"plain - text\_1, 2.5"),
        ("a|b", r"a\|b"),
        ("a\n\n# b", r"a \# b"),
        ("<script>&lt;", r"\<script\>\&lt;"),
        ("[a](javascript:x)", r"\[a\](javascript\:x)"),
        ("![a](http://x)", r"\!\[a\](http\://x)"),
        ("see www.evil.example or a@b.example", r"see www\.evil.example or a\@b.example"),
        ("`code` *b* ~c~ \\", r"\`code\` \*b\* \~c\~ \\"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("---", r"\---"),
    ],
)
def test_markdown_makes_nothing_of_a_text(text: str, expected: str) -> None:
    assert markdown(text) == expected
