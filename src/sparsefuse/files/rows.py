"""A manifest's cells: a CSV or JSONL file in, rows of text with their line numbers out; rows in, a CSV file out."""

import codecs
import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from sparsefuse.errors import near_file, unknown
from sparsefuse.files.declared import check_bytes
from sparsefuse.files.references import FILES, MEDIA, suffix
from sparsefuse.files.whole import write_text

_JSONL = (".jsonl", ".ndjson")
SUFFIXES = (".csv", ".tsv", *_JSONL)
_SEPARATORS = ",;\t|"
_KNOWN = ("id", "label", "split", "group", "start", "end")
"""Columns whose names may be written in any case."""
_TIME = re.compile(r"(?i)\W*(time ?stamp|date ?time|time|date|ts)\b.*")
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)?")
_SHARED = 10_000
"""different cells that are kept once, as labels and splits stand in many rows"""
_ROOM = 750_000_000
"""bytes that the rows of a table may take beside what any file may"""
_EVERY = 10_000
_WORD = re.compile(r"\S*[^\W\d_]\S*")
BLANK = frozenset({"", "-", "?", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"})
"""What stands for no value, in any case, in manifests and sensor files."""
_NEVER_FILES = ("id", "label", "split", "group")  # a group is often the name of the video a clip was cut from


class Table(NamedTuple):
    """All cells as text, an absent one empty; with the line that each row begins on, for error messages."""

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]

    def holds(self, column: str, kinds: Set[str]) -> bool:
        """Whether the column's cells are files with a suffix among `kinds`, such as `references.FEATURES`.

        The majority of cells that are not empty decides: one wrong cell must not drop a modality.
        """
        if column in _NEVER_FILES:
            return False
        cells = [row[column] for row in self.rows if row[column].lower() not in BLANK]
        return 2 * sum(suffix(cell) in kinds for cell in cells) > len(cells)

    def is_text(self, column: str) -> bool:
        """Whether the column's cells are sentences: most of two words or more, most of them different, and none ends as
        a file does."""
        cells = [row[column] for row in self.rows if row[column].lower() not in BLANK]
        if column in _KNOWN or any(suffix(cell) in FILES for cell in cells):
            return False
        words = sum(len(_WORD.findall(cell)) > 1 for cell in cells)
        return 2 * words > len(cells) < 2 * len(set(cells))


def time_columns(names: Iterable[str]) -> list[str]:
    """Those that are called time, timestamp or date, with a unit or not."""
    return [name for name in names if _TIME.fullmatch(name)]


def unread_times(table: Table) -> list[str]:
    """Columns of numbers that are called as the parts of films often are, such as start_time or duration, where
    `start` and `end`, which alone are read, are not there."""
    numbers = [
        c for c in table.columns if (cells := [row[c] for row in table.rows if row[c]]) and all(map(_TIMES, cells))
    ]
    begins = [name for name in numbers if _BEGINS.fullmatch(name)]
    ends = [name for name in numbers if _ENDS.fullmatch(name)]
    if "start" not in table.columns:
        return [*begins, *ends] if begins else []
    return [] if "end" in table.columns else ends


_AFTER = r"[\s_-]*(time|times|s|sec|secs|seconds|ms|frame|sample|timestamp)?(\s*[(\[].*)?"
_BEGINS = re.compile(rf"(?i)(\w+[\s_-])?(start|begin|onset){_AFTER}")
_ENDS = re.compile(rf"(?i)(\w+[\s_-])?(end|stop|offset|duration){_AFTER}")
_TIMES = re.compile(r"[\d.,:]+").fullmatch


def read_table(path: str | Path) -> Table:
    """Reads every column of a CSV (with a header) or JSONL file as text; lists in JSONL are joined with |.

    What spreadsheets and other tools write is read as what it means: UTF-16, cells separated by ; or tab or |, columns
    without a name that are empty or pandas' index, `ID` for id, and \\ in paths.
    Raises FileNotFoundError, or ValueError with the invalid line.
    """
    path = Path(path)
    kind = "folder" if path.is_dir() else "media file" if path.is_file() and suffix(path.name) in MEDIA else ""
    if kind:
        hint = "of a folder of clips per class, `sparsefuse prepare folders` makes one"
        raise FileNotFoundError(f"{path} is a {kind}, expected a manifest (CSV or JSONL); {hint}")
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path} not found{_neighbour(path)}")
    text = _text_of(path)
    start = text.lstrip()[:1]
    if not start:
        raise ValueError(f"{path}: the table is empty; expected a header and one row per sample")
    if start == "[":
        raise ValueError(f"{path}: is a JSON list; write one object per line (pandas: orient='records', lines=True)")
    jsonl = start == "{" or path.suffix.lower() in _JSONL
    return _as_meant(path.parent, _read_jsonl(path, text) if jsonl else _read_csv(path, text))


def numbered(table: Table) -> Table:
    """The table with a column of ids: if it has none, the numbers of its rows, from 0."""
    if "id" in table.columns:
        return table
    rows = [{"id": f"{place:05d}", **row} for place, row in enumerate(table.rows)]
    return Table(["id", *table.columns], rows, table.lines)


def check_ids(path: Path, table: Table) -> None:
    """Raises ValueError unless there are rows and every one has a unique id."""
    if "id" not in table.columns:
        raise ValueError(f"{path}: no 'id' column; {unknown('column', 'id', table.columns)}")
    if not table.rows:
        raise ValueError(f"{path}: no rows, only a header; expected one row per sample")
    first_lines: dict[str, int] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        if not row["id"]:
            raise ValueError(f"{path}, line {line}: the id is empty; every row needs one")
        if row["id"] in first_lines:
            raise ValueError(
                f"{path}: id {row['id']!r:.60} is on lines {first_lines[row['id']]} and {line}; ids are unique"
            )
        first_lines[row["id"]] = line


def csv_text(lines: Iterable[Iterable[object]]) -> str:
    """Lines of cells as the text of a CSV file."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()


def write_table(path: str | Path, rows: Sequence[dict[str, str]]) -> Path:
    """Writes rows (all with the first one's columns) as CSV, whole; returns the path."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())
    return Path(path)


def _text_of(path: Path) -> str:
    with path.open("rb") as file:
        utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # a spreadsheet's "Unicode text"
    try:
        text = path.read_text(encoding="utf-16" if utf16 else "utf-8-sig")  # spreadsheets write a byte-order mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}: not UTF-8 text (line {line}, byte {error.start}); save it as CSV in UTF-8, or as JSONL"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path}: holds zero bytes, so it is no text in UTF-8; save it as CSV in UTF-8, or as JSONL")
    return text


def _read_csv(path: Path, text: str) -> Table:
    first, _, rest = text.partition("\n")
    separator = first.strip().strip('"').lower().removeprefix("sep=")
    if first.lower().startswith(("sep=", '"sep=')) and len(separator) == 1:
        text = f"\n{rest}"  # what the line said is known; the lines below keep their numbers
    else:
        separator = max(_SEPARATORS, key=text.lstrip().partition("\n")[0].count)
    records = _records(path, text, separator)
    header, columns = next(records, (1, []))
    named = {place: name for place, name in enumerate(columns) if name}
    unnamed = [place for place, name in enumerate(columns) if not name]
    filled, indices = set[int](), set(unnamed)
    shared: dict[str, str] = {}
    rows, lines, empty = [], [], columns.count("")
    for line, cells in records:  # a row at a time: of millions, lists of cells take as much as their rows
        if len(cells) < len(columns) or any(cells[len(columns) :]):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} cells, the header has {len(columns)}; "
                f"put cells that hold a {separator!r} in double quotes"
            )
        for place in unnamed:
            filled |= {place} if cells[place] else set()
            indices -= set() if cells[place].isdigit() else {place}
        if len(shared) < _SHARED:
            shared.update((cell, cell) for cell in cells if cell not in shared)
        rows.append({name: shared.get(cells[place], cells[place]) for place, name in named.items()})
        lines.append(line)
        empty += cells.count("")
        _check_empty(path, empty)
        if len(rows) % _EVERY == 0:
            _check_rows(path, len(rows), len(columns))
    for place in unnamed:
        if place in filled and not (place == 0 and place in indices):
            raise ValueError(f"{path}, line {header}: column {place + 1} has no name; name it or remove it")
    twice = [name for name, count in Counter(named.values()).items() if count > 1]
    if twice:
        raise ValueError(f"{path}, line {header}: column {twice[0]!r:.60} appears twice in the header; rename one")
    return Table(list(named.values()), rows, lines)


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """(line it begins on, cells) of every record that is not blank; a quoted cell may go over several lines."""
    lines = (match[0] for match in _LINE.finditer(text) if match[0])  # io.StringIO takes four bytes a letter
    reader = csv.reader(lines, delimiter=separator, strict=True)  # else an open quote swallows all rows below it
    begin = 1
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if any(cells):
                yield begin, cells
            begin = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {begin}: not CSV ({error}); is a double quote open?") from error


def _read_jsonl(path: Path, text: str) -> Table:
    columns: dict[str, str] = {}
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines() would also break at U+2028 in a text
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_once)
            named = value.items() if isinstance(value, dict) else ()
            cells = {columns.setdefault(name, name): _text(cell) for name, cell in named}  # one text per name
            "".join([*cells, *cells.values()]).encode()  # JSON can hold half a character, which is in no UTF-8
        except (ValueError, RecursionError) as error:
            why = str(error)[:100]
            raise ValueError(f"{path}, line {number}: not JSON ({why}); expected one object a line") from error
        if not isinstance(value, dict):
            raise ValueError(f"{path}, line {number}: expected one object {{...}} a line, got another value")
        rows.append(cells)
        lines.append(number)
        if len(rows) % _EVERY == 0:
            _check_rows(path, len(rows), len(columns))
    _check_empty(path, len(rows) * len(columns) - sum(map(len, rows)))
    for place, row in enumerate(rows):
        if list(row) != list(columns):
            rows[place] = {name: row.get(name, "") for name in columns}
    return Table(list(columns), rows, lines)


def _check_rows(path: Path, rows: int, columns: int) -> None:
    """Raises ValueError where rows, and the samples made of them, would take more memory than there may be."""
    what = f"{path}: a table of over {rows:,} rows"
    check_bytes((550 + 50 * columns) * rows, path.stat().st_size, what, _ROOM)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises ValueError for a name that stands twice, of which the last alone would count."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r:.40} appears twice in an object")
    return value


def _check_empty(path: Path, cells: int) -> None:
    """Raises ValueError where empty cells would take far more memory than the file has bytes."""
    check_bytes(50 * cells, path.stat().st_size, f"{path}: a table with {cells:,} empty cells")


def _as_meant(root: Path, table: Table) -> Table:
    """Known columns in lower case; words such as `nan` are no file, split or group, and paths
    have / unless a file has a \\ in its name."""
    alike = Counter(name.lower() for name in table.columns)
    names = {n: n.lower() if n.lower() in _KNOWN and alike[n.lower()] == 1 else n for n in table.columns}
    rows = table.rows
    if list(names.values()) != table.columns:
        rows = [{names[name]: cell for name, cell in row.items()} for row in rows]
        table = Table(list(names.values()), rows, table.lines)
    for name in table.columns:
        odd = [row for row in rows if "\\" in row[name] or row[name].lower() in BLANK]
        files = bool(odd) and table.holds(name, FILES)
        text = bool(odd) and not files and table.is_text(name)
        for row in odd:
            if (files or text or name in ("split", "group")) and row[name].lower() in BLANK:
                row[name] = ""
            elif files and not os.path.exists(root / row[name]):
                row[name] = row[name].replace("\\", "/")
    return table


def _text(cell: object) -> str:
    """A JSON value as a CSV cell."""
    if cell is None:
        return ""
    if isinstance(cell, list):
        return "|".join(map(_text, cell))
    return cell.strip() if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _neighbour(path: Path) -> str:
    """A hint with the files of the folder."""
    if not path.parent.is_dir():
        return f"; the folder {path.parent} does not exist either"
    if like := near_file(path):
        return like
    near = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in SUFFIXES)
    return f"; {path.parent} holds {', '.join(near[:5])}" if near else f"; {path.parent} holds no CSV or JSONL file"
