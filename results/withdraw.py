"""Takes figures out of results/<name> that code since found wrong has computed; a note says so where they stood.

    python results/withdraw.py study-known --columns "mAP %" --note "Without mAP, which ...; anew: `...`."
    python results/publish.py    puts the tables and their notes into README.md and docs/

Without --columns and --rows, --tables takes the note alone. `publish.py FOLDER NAME` files tables anew and ends their
notes. Run from the repository's root.
"""

import argparse
import csv
import io
import json
from pathlib import Path

from sparsefuse.files.whole import write_text

RESULTS = Path("results")
NOTES = "notes.json"
IN_CSV = {"mAP %": ("mAP %", "map_mean", "map_std")}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a folder of results/")
    parser.add_argument("--columns", nargs="*", default=[], help="columns that go, as their head in Markdown")
    parser.add_argument("--rows", nargs="*", default=[], help="rows that go, by their first cell; costs stay")
    parser.add_argument(
        "--tables", nargs="*", default=[], help="tables (a CSV's name without suffix) with the note too"
    )
    parser.add_argument("--note", required=True, help="why, since when, and the command that makes it anew")
    given = parser.parse_args()
    withdraw(RESULTS / given.name, given.columns, given.rows, given.tables, given.note)


def withdraw(folder: Path, columns: list[str], rows: list[str], tables: list[str], note: str) -> None:
    """Rewrites every table of a folder without `columns` and `rows`; those that lost some and `tables` get `note`."""
    gone = {named for column in columns for named in IN_CSV.get(column, (column,))}
    noted = set(tables)
    for path in sorted(folder.glob("*.csv")):
        text = path.read_bytes().decode()
        lines = list(csv.reader(io.StringIO(text, newline="")))
        left = without(lines, gone, set(rows))
        if left != lines:
            out = io.StringIO(newline="")
            csv.writer(out, lineterminator="\r\n" if "\r\n" in text else "\n").writerows(left)
            write_text(path, out.getvalue())
            noted.add(path.stem)
    if unknown := noted - {path.stem for path in folder.glob("*.csv")}:
        raise SystemExit(f"{folder} has no table {sorted(unknown)}")
    if not noted:
        raise SystemExit(f"{folder}: no table has the columns {columns} or the rows {rows}")
    notes = json.loads((folder / NOTES).read_text(encoding="utf-8")) if (folder / NOTES).is_file() else {}
    for table in sorted(noted):
        notes[table] = [*(old for old in notes.get(table, []) if old != note), note]
    write_text(folder / NOTES, json.dumps(notes, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    for path in sorted(folder.glob("*.md")):
        text = "\n".join(_blocks(path.read_text(encoding="utf-8").splitlines(), set(columns), set(rows)))
        write_text(path, text.rstrip("\n") + "\n" + ("" if note in text else f"\n{note}\n"))


def without(lines: list[list[str]], columns: set[str], rows: set[str]) -> list[list[str]]:
    """A table, head first, without some columns and rows; what a model costs is of its shapes, and stays."""
    head = lines[0] if lines else []
    kept = [i for i, title in enumerate(head) if title not in columns]
    cost = {"Parameters", "GMACs"} <= set(head) and "Top-1 %" not in head
    return [[line[i] for i in kept] for n, line in enumerate(lines) if n == 0 or cost or line[0] not in rows]


def _blocks(lines: list[str], columns: set[str], rows: set[str]) -> list[str]:
    """Markdown whose tables are without some columns and rows."""
    out: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("| "):
            table.append(line)
            continue
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
        left = without(cells, columns, rows)
        out += table if left == cells else [f"| {' | '.join(row)} |" for row in left]
        table = []
        out.append(line)
    return out[:-1]


def notes_of(folder: Path) -> dict[str, str]:
    """What stands below each table of a folder, by the table's name; nothing was withdrawn = {}."""
    if not (folder / NOTES).is_file():
        return {}
    notes: dict[str, list[str]] = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    return {table: "\n\n" + "\n\n".join(said) for table, said in notes.items()}


if __name__ == "__main__":
    main()
