"""Empty and duplicate ids of a table, all at once."""

from collections import defaultdict
from collections.abc import Iterable

from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.files.rows import Table


def bad_ids(table: Table) -> list[Problem]:
    """All bad ids, to be corrected in one go; `read_manifest` stops at the first."""
    lines: dict[str, list[int]] = defaultdict(list)
    for line, row in zip(table.lines, table.rows, strict=True):
        lines[row["id"]].append(line)
    problems = [broken("id", f"line {line}: the id is empty; every row needs one") for line in lines.pop("", [])]
    for name, numbers in lines.items():
        if len(numbers) > 1:
            problems.append(broken("id", f"id {name!r} is on lines {some(numbers)}; ids are unique", name))
    return problems


def some(names: Iterable[object], most: int = 8) -> str:
    """The first few of them, for a message."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (", ..." if len(shown) > most else "")
