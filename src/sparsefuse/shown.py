"""Texts from outside, cut and escaped before anyone is shown them."""

import re
from collections.abc import Iterable, Sequence

MOST = 80
"""Letters of a name in a message."""
CELL = 300
"""Letters of a cell of a table."""
REASON = 1000
"""Letters of a message."""


def shown(text: object, most: int = MOST) -> str:
    """A text as one line of at most `most` letters: without the middle of a longer one, control letters as ?."""
    text = str(text)
    if len(text) > most:
        head = (most - 3) // 2
        text = f"{text[:head]}...{text[head + 3 - most :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def counted(count: int, noun: str) -> str:
    """`1 file`, `2 files`, `3 classes`."""
    return f"{count} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def said(error: BaseException) -> str:
    """What a library says of a file, without what it quotes of it."""
    text = re.sub(r"""(?<!\w)b?(['"]).*?((?<!\\)\1|$)""", "...", str(error).strip().partition("\n")[0])
    return shown(text, MOST) or type(error).__name__


def markdown(text: object, most: int = MOST) -> str:
    """As `shown`, escaped so that it stays text in Markdown, in its tables, and in the HTML that is made of it."""
    return _ACTS.sub(r"\\\g<0>", shown(" ".join(str(text).split()), most))


def markdown_table(lines: Iterable[Sequence[object]], rule: Sequence[str]) -> str:
    """A table, the first of the lines its head; `rule` aligns its columns."""
    head, *body = [[markdown(cell, CELL) for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *body])


_ACTS = re.compile(
    r"[\\`*<>|~&$]|^[-+=#](?=[^\w.])|(?<=^\d)[.)](?=\s)"  # code, emphasis, HTML, cells, lists, titles
    r"|\](?=[(\[:])|:(?=//)|(?<=www)\.|(?<=\S)@(?=\S)"  # links
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, but not within a word
)
