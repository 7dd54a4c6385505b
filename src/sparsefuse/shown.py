"""Texts from outside, cut and escaped before anyone is shown them."""

import re

MOST = 80
"""Letters of a name in a message."""


def shown(text: object, most: int = MOST) -> str:
    """A text as one line of at most `most` letters: without the middle of a longer one, control letters as ?."""
    text = str(text)
    if len(text) > most:
        head = (most - 3) // 2
        text = f"{text[:head]}...{text[head + 3 - most :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def markdown(text: object, most: int = MOST) -> str:
    """As `shown`, escaped so that it stays text in Markdown, in its tables, and in the HTML that is made of it."""
    line = shown(" ".join(str(text).split()), most)
    line = "".join("\\" + letter if letter in "\\`*_[]<>#!|~&:@" else letter for letter in line)
    return re.sub(r"^(?=[-+=])|(?<=www)(?=\.)|(?<=^\d)(?=[.)])", r"\\", line)  # a list, a link, a numbered list
