"""The column of labels where nobody names it: columns that hold no stream in, the only one that may be it out."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from sparsefuse.errors import LONGEST
from sparsefuse.files.rows import BLANK, Table, time_columns
from sparsefuse.once import log_once
from sparsefuse.shown import shown

log = logging.getLogger(__name__)

USUAL = "label"
"""the column's name, unless somebody says another"""
PEOPLE = frozenset(
    f"{name}{end}"
    for name in ("person", "subject", "speaker", "participant", "user", "actor", "patient", "volunteer")
    for end in ("", "id", "_id", " id", "-id", "s")
)
"""names, in lower case, of columns that say who is in a clip"""
_OTHERS = PEOPLE | {"id", "split", "group", "start", "end"}
_NAMED = 8
"""columns that an error names"""


def only_label(columns: Mapping[str, Iterable[object]], where: str, flag: str) -> str:
    """The one of the columns that may hold labels, which a log line says; empty if none may. `flag` names another, and
    ends as what is before its name is typed: of a keyword of Python the line is a warning, as scripts show no others.
    Raises ValueError if several may, with their names."""
    found = [name for name, cells in columns.items() if _may_be(name, [str(cell).strip() for cell in cells])]
    names = [shown(name, LONGEST) for name in found[:_NAMED]]
    if len(found) > 1:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise ValueError(
            f"{where}no column {USUAL!r}; these may be it: {', '.join(names)}{more}. Say which: "
            f"{_typed(flag, names[0])}"
        )
    if found:
        other = _typed(flag, "NAME")
        text = f"{where}labels are in column {names[0]!r}, the only one left; for another: {other}"
        log_once(log, text, logging.WARNING if flag.endswith("=") else logging.INFO)
    return "".join(found)


def unused_people(columns: Sequence[str], group: str) -> str:
    """The column that says who is in a clip, where no column `group` or `split` keeps a person's clips within one
    split; empty if there is none."""
    divided = {group, "split"} & set(columns)
    return next((name for name in columns if name.lower() in PEOPLE and not divided), "")


def people_column(table: Table) -> str:
    """The only column that says who is in each clip, where there are three or more; else empty."""
    found = [name for name in table.columns if name.lower() in PEOPLE]
    people = [{row[name] for row in table.rows} for name in found]
    return (
        found[0]
        if len(found) == 1 and len(people[0]) > 2 and not any(one.lower() in BLANK for one in people[0])
        else ""
    )


def _typed(flag: str, name: str) -> str:
    return f'{flag}"{name}"' if flag.endswith("=") else f"{flag} {name}"


def _may_be(name: str, cells: Sequence[str]) -> bool:
    """Whether the cells may be labels: numbers, or words that come again, and not all alike."""
    there = [cell for cell in cells if cell.lower() not in BLANK]
    if name.lower() in _OTHERS or time_columns([name]):
        return False
    return len(set(there)) > 1 and (len(set(there)) < len(there) or _are_numbers(there))


def _are_numbers(cells: Sequence[str]) -> bool:
    try:
        return bool([float(cell) for cell in cells])
    except ValueError:
        return False
