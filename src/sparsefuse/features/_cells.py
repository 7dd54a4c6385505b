"""Splits the text of a sensor file: bytes in, names of columns and rows of cells out."""

import codecs
import csv
import re
from collections import Counter
from itertools import dropwhile
from pathlib import Path
from typing import Literal, NamedTuple

from sparsefuse.files.rows import BLANK
from sparsefuse.files.skipped import Unusable

_SAMPLE = 50  # lines that decide what separates cells
_MANY = 10  # rows that are no coincidence
TIME = re.compile(r"\d+[-/.:]\w+[-/.:]\d")  # 2026-01-31, 31-Jan-2026, 12:00:00
_FIGURES = re.compile(r"[-+]?[\d.,][\d\s.,;+-]*([eE][-+]?\d+)?")


class Layout(NamedTuple):
    """How a file is written; see the options of `series`."""

    skip: int = 0
    comment: str = "#"
    decimal: Literal[".", ","] | None = None
    thousands: str | None = None
    encoding: str | None = None


class Cells(NamedTuple):
    """Rows of cells with the same columns; without a header these are called 0, 1, ..."""

    names: list[str]
    rows: list[tuple[int, list[str]]]
    """(line, cells)"""


def read_cells(path: Path, layout: Layout) -> Cells:
    """Cells end at a tab, ;, | or a comma, else at white space. Raises Unusable."""
    lines = [
        (number, line)
        for number, line in enumerate(_text(path, layout.encoding).split("\n"), 1)
        if number > layout.skip and line.strip() and not _is_comment(line.lstrip(), layout.comment)
    ]
    if not lines:
        raise Unusable(f"{path}: is empty{f' after {layout.skip} lines' * bool(layout.skip)}, expected rows of numbers")
    end = _separator([line for _, line in lines[1:] or lines], layout)
    try:
        records = [(number, _split(line, end)) for number, line in lines]
    except csv.Error as error:
        raise Unusable(f"{path}: cannot be read as CSV ({error})") from error
    header = _is_header([cells for _, cells in records[:2]])
    rows = records[header:]
    if header:
        rows = list(dropwhile(lambda row: _is_words(row[1]), rows))  # below the names: of units
    if not rows:
        raise Unusable(f"{path}: has only a header, expected rows of numbers")
    names = records[0][1] if header else []
    _drop_empty_end(names, rows)
    commas = end == "," and layout.decimal is None
    if commas:
        _check_commas(path, names, rows)
    _check_widths(path, records, rows, "; if commas are decimal points, set `decimal: ','`" if commas else "")
    return Cells(names or [str(place) for place in range(len(rows[0][1]))], rows)


def _text(path: Path, encoding: str | None) -> str:
    if not path.is_file():
        raise Unusable(f"{path}: {'is a folder' if path.is_dir() else 'missing'}, expected a CSV file")
    content = path.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode(encoding or ("utf-16" if marked else "utf-8")).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        hint = "; set `encoding`, such as cp1252 or utf-16"
        raise Unusable(f"{path}: is not {encoding or 'UTF-8'} text (byte {error.start}){hint}") from error
    if "\0" in text:
        raise Unusable(f"{path}: holds zero bytes; if it is text, set `encoding`, such as utf-16-le")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_comment(line: str, mark: str) -> bool:
    """Whether a line begins with the mark, and not with an error of a spreadsheet, such as #DIV/0!"""
    return bool(mark) and line.startswith(mark) and not re.match(r"#(N/A|DIV/0|VALUE|NUM|REF|NAME)\b", line)


def _separator(lines: list[str], layout: Layout) -> str:
    """What ends the cells of most lines; a blank stands for any white space."""
    lines = [line.strip().rstrip(";") for line in lines[:_SAMPLE]]
    for end in ("\t", ";", "|", ",", " "):
        # Where numbers have it, too, only one beside a quote ends a cell.
        within = (f'"{end}', f'{end}"') if end in (layout.decimal, layout.thousands) else (end,)
        if 2 * sum(any(mark in line for mark in within) for line in lines) >= len(lines):
            return end
    return "\t"  # one column


def _split(line: str, end: str) -> list[str]:
    if end == " ":
        return [cell.strip('"') for cell in line.split()]
    (cells,) = csv.reader([line], delimiter=end, skipinitialspace=True)
    if end != ";":
        cells[-1] = cells[-1].rstrip().rstrip(";")
    return [cell.strip() for cell in cells]


def number(cell: str) -> float:
    """The number that a cell is. Raises ValueError, for 1_000 as well."""
    return float(cell.replace("_", "?"))


def is_number(cell: str) -> bool:
    """Whether it is a number with a decimal point, or has no value."""
    try:
        number(cell)
    except ValueError:
        return cell.lower() in BLANK
    return True


def _is_word(cell: str) -> bool:
    return not (is_number(cell) or _FIGURES.fullmatch(cell) or TIME.match(cell))


def _is_words(cells: list[str]) -> bool:
    """Whether some are words, and none is a number or a time."""
    return any(map(_is_word, cells)) and all(_is_word(cell) or cell in ("", "-") for cell in cells)


def _is_header(records: list[list[str]]) -> bool:
    """Whether the first row has names: words, or 0, 1, 2, ..., as data frames call columns, above other numbers."""
    first = records[0]
    figures = [cell for cell in first if cell and not _is_word(cell)]
    counted = figures == [str(place) for place in range(len(figures))]
    above = len(records) > 1 and any(_is_word(a) and not _is_word(b) for a, b in zip(*records, strict=False))
    frame = len(figures) > 2 and not all(cell.isdecimal() for cell in records[-1])
    return _is_words(first) or (counted and (above or frame))


def _drop_empty_end(names: list[str], rows: list[tuple[int, list[str]]]) -> None:
    """Takes out last columns without a name and without a value: lines may end with a separator."""
    while all(len(cells) > 1 and not cells[-1] for _, cells in rows):
        last = len(rows[0][1]) - 1
        if any(names[last:]):
            break
        del names[last:]
        for _, cells in rows:
            cells.pop()


def _check_commas(path: Path, names: list[str], rows: list[tuple[int, list[str]]]) -> None:
    """Raises Unusable where commas may be decimal points: 12,5 is two whole numbers, or one."""
    width = len(rows[0][1])
    if len(names) == width or any(len(cells) != width for _, cells in rows):
        return
    columns = list(zip(*(cells for _, cells in rows), strict=True))
    digits = [all(map(str.isdecimal, column)) for column in columns]
    zeros = any(
        d and any(len(c) > 1 and c[0] == "0" for c in column) for d, column in zip(digits, columns, strict=True)
    )
    whole = all(re.fullmatch(r"[-+]?\d+", cell) for column in columns[::2] for cell in column)
    alike = len(rows) >= _MANY and all(len(set(map(len, column))) == 1 for column in columns[1::2])
    if zeros or (width % 2 == 0 and whole and all(digits[1::2]) and (alike or 2 * len(names) == width)):
        both = ",".join(rows[0][1][-2:])
        hint = "set `decimal: ','` for one, `decimal: '.'` for two"
        raise Unusable(f"{path}, line {rows[0][0]}: is {both} one number, or two? {hint}")


def _check_widths(
    path: Path, records: list[tuple[int, list[str]]], rows: list[tuple[int, list[str]]], hint: str
) -> None:
    """Raises Unusable where a row has more or fewer cells than most."""
    usual = Counter(len(cells) for _, cells in rows).most_common(1)[0][0]
    first, cells = records[0]
    begin = next(line for line, cells in records if len(cells) == usual)
    if begin > first:
        says = f"{len(cells)} cells, most rows have {usual}, the first in line {begin}"
        skip = f"leave out what is above with `skip: {begin - 1}`; without a header columns are numbers, from 0"
        raise Unusable(f"{path}, line {first}: {says}; {skip}{hint}")
    for line, cells in rows:
        if len(cells) != usual:
            says = f"{len(cells)} cells, most rows have {usual}"
            raise Unusable(f"{path}, line {line}: {says}; was it cut short?{hint}")
