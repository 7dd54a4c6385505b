"""Texts of strangers are cut and stay text."""

import pytest

from sparsefuse.errors import lacking, unknown
from sparsefuse.files.skipped import Unusable, one_file
from sparsefuse.shown import counted, markdown, markdown_table, said, shown


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


@pytest.mark.parametrize("error", [KeyError("SECRET"), OSError("cannot read 'SECRET'"), RuntimeError("got b'SECRET'")])
def test_an_error_that_nobody_foresaw_quotes_nothing_of_its_file(error: Exception) -> None:
    with pytest.raises(Unusable, match=r"a\.mp4: cannot be read \(.*\.\.\.") as caught, one_file("a.mp4"):
        raise error
    assert "SECRET" not in str(caught.value)
    assert type(error) is OSError or "SECRET" in caught.value.trace  # which is for the log


def test_a_reason_to_skip_a_file_is_one_short_line() -> None:
    assert len(str(Unusable("x" * 10**7))) == 1000
    assert str(Unusable("a.npy: is\nempty")) == "a.npy: is?empty"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain [a] - text_1, 2.5!", "plain [a] - text_1, 2.5!"),
        ("a|b", r"a\|b"),
        ("a\n\n# b", "a # b"),
        ("# a", r"\# a"),
        ("<script>&lt;", r"\<script\>\&lt;"),
        ("[a](javascript:x) [b][c]", r"[a\](javascript:x) [b\][c]"),
        ("![a](http://x)", r"![a\](http\://x)"),
        ("see www.evil.example or a@b.example", r"see www\.evil.example or a\@b.example"),
        ("`code` *b* _i_ ~c~ $m$ \\", r"\`code\` \*b\* \_i\_ \~c\~ \$m\$ \\"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("---", r"\---"),
    ],
)
def test_markdown_makes_nothing_of_a_text(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_a_cell_of_a_table_makes_no_other_cell_or_line() -> None:
    found = markdown_table([["name", "n"], ["a|b\n| c", "x" * 10**6]], [":--", "--:"])
    assert found.splitlines()[:2] == ["| name | n |", "| :-- | --: |"]
    assert found.splitlines()[2].startswith(r"| a\|b \| c | xxx")
    assert found.count("\n") == 3
    assert len(found) < 400


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("could not convert string 'SECRET' to float64 at row 0", "could not convert string ... to float64 at row 0"),
        ("Cannot parse header: \"{'SECRET': 1}\"", "Cannot parse header: ..."),
        ("keys: ['SECRET', 'b']; can't go on", "keys: [..., ...]; can't go on"),
        ("got b'SEC\\'RET' here", "got ... here"),
        ("cut in its quote 'SECRET", "cut in its quote ..."),
        ("first\nSECRET", "first"),
        ("", "ValueError"),
    ],
)
def test_what_a_library_says_quotes_nothing(error: str, expected: str) -> None:
    assert said(ValueError(error)) == expected


def test_one_is_no_plural() -> None:
    assert [counted(1, "file"), counted(0, "file"), counted(2, "class")] == ["1 file", "0 files", "2 classes"]


def test_a_column_that_is_known_keeps_its_name() -> None:
    both = "has no column 'acc1', which X has; rename 'accel1'? columns: acc2, accel1"
    assert lacking("acc1", "X has", ["accel1", "acc2"], ["acc2"]) == both
    assert lacking("acc1", "X has", ["acc2"], ["acc2"]) == "has no column 'acc1', which X has. columns: acc2"
