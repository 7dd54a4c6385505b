"""Reads the text of a part of a file. Where the format has times, each word has its own."""

import csv
import html
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.errors import unknown
from sparsefuse.files.skipped import Unusable
from sparsefuse.shown import said

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{3})"
_CUE = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")  # <i>, and the {\an8} of subtitles


def read_text(path: Path, start: float = 0.0, end: float | None = None) -> str:
    """The text of a .txt, .srt, .vtt, .csv or .json file, or the words whose middle is in [start, end), in seconds.

    The words of a subtitle share its time evenly. Raises Unusable when the file cannot be read, has no words there, or
    has no times although a part is requested.
    """
    kind = path.suffix.lower()
    if kind not in (".txt", *_READERS):
        raise Unusable(f"{path}: {unknown('text file type', kind, ['.txt', *_READERS])}")
    text = _content(path)
    if kind != ".txt":
        text = " ".join(word.text for word in _within(path, list(_READERS[kind](path, text)), start, end))
    elif start or end is not None:
        raise Unusable(f"{path}: a .txt has no times; if it is the text of this row alone, set `whole: true`")
    if not text.strip():
        until = "the end" if end is None else f"{end:g} s"
        raise Unusable(f"{path}: has no words from {start:g} s to {until}")
    return text


class _Word(NamedTuple):
    text: str
    start: float | None
    end: float | None


def _within(path: Path, words: list[_Word], start: float, end: float | None) -> Iterator[_Word]:
    if not start and end is None:
        yield from words
        return
    last = None
    for word in words:
        if word.start is not None and word.end is not None:
            last = (word.start + word.end) / 2
        # Aligners give no time to words they cannot align, such as figures: they belong to the word before.
        if last is not None and start <= last < (math.inf if end is None else end):
            yield word
    if words and last is None:
        raise Unusable(f"{path}: its words have no start and end; without them no part of it can be taken")


def _content(path: Path) -> str:
    if not path.is_file():
        raise Unusable(f"{path}: {'is a folder' if path.is_dir() else 'missing'}, expected a text file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"{path}: is not UTF-8 text (byte {error.start}); convert it first") from error


def _read_cues(path: Path, text: str) -> Iterator[_Word]:
    """Subtitles: a line of two times, then lines of text until an empty one."""
    times: tuple[float, float] | None = None
    shown: list[str] = []
    for line in text.splitlines():
        cue = _CUE.match(line)
        if cue:
            times = _clock(cue.groups()[:4]), _clock(cue.groups()[4:])
            shown = []
        elif line.strip() and times:
            shown.append(html.unescape(_MARKUP.sub("", line)))
        elif times:
            yield from _spread(" ".join(shown), *times)
            times = None
    if times:
        yield from _spread(" ".join(shown), *times)


def _spread(text: str, start: float, end: float) -> Iterator[_Word]:
    words = text.split()
    step = (end - start) / max(1, len(words))
    for place, word in enumerate(words):
        yield _Word(word, start + place * step, start + (place + 1) * step)


def _clock(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def _read_csv(path: Path, text: str) -> Iterator[_Word]:
    """Columns word, start, end (seconds); the times may be missing."""
    reader = csv.DictReader(text.splitlines())
    try:
        if "word" not in (reader.fieldnames or []):
            raise Unusable(f"{path}: {unknown('column', 'word', reader.fieldnames or [])}; expected word, start, end")
        for row in reader:
            yield _word(path, row)
    except csv.Error as error:
        raise Unusable(f"{path}: is not CSV ({error})") from error


def _read_json(path: Path, text: str) -> Iterator[_Word]:
    """A list of {"word", "start", "end"}, also below "words", and below "segments" as Whisper writes them."""
    try:
        yield from _read_json_value(path, json.loads(text))
    except Unusable:
        raise
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are no JSONDecodeError
        raise Unusable(f"{path}: is not JSON ({said(error)})") from error


def _read_json_value(path: Path, value: Any) -> Iterator[_Word]:
    if isinstance(value, list):
        for item in value:
            yield from _read_json_value(path, item)
    elif not isinstance(value, dict):
        raise Unusable(f"{path}: expected objects with word, start and end, got another value")
    elif "word" in value:
        yield _word(path, value)
    elif "segments" in value or "words" in value:
        yield from _read_json_value(path, value["segments"] if "segments" in value else value["words"])
    elif "text" in value:
        part = _word(path, value | {"word": value["text"]})
        if part.start is None or part.end is None:
            yield part
        else:
            yield from _spread(part.text, part.start, part.end)
    else:
        raise Unusable(f"{path}: an object has no word, start and end")


def _word(path: Path, row: dict[str, Any]) -> _Word:
    times: list[float | None] = []
    for name in ("start", "end"):
        try:
            time = None if row.get(name) in (None, "") else float(row[name])
        except (TypeError, ValueError, OverflowError) as error:
            raise Unusable(f"{path}: {name} of a word is no number, expected seconds") from error
        if time is not None and not math.isfinite(time):
            raise Unusable(f"{path}: {name} of a word is {time}, expected seconds")
        times.append(time)
    if isinstance(row["word"], dict | list):
        raise Unusable(f"{path}: a word is no text")
    return _Word(str(row["word"] or "").strip(), *times)


_READERS = {".srt": _read_cues, ".vtt": _read_cues, ".csv": _read_csv, ".json": _read_json}
