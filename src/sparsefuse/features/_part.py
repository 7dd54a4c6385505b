"""The part of its files that a clip names: its cells `start` and `end` in, seconds out."""

import math
from collections.abc import Mapping
from typing import NamedTuple

NAMES = ("start", "end")


class Part(NamedTuple):
    """In seconds since the film's beginning."""

    start: float = 0.0
    end: float | None = None
    """None = the end of the film"""


WHOLE = Part()


def part_of(cells: Mapping[str, object]) -> Part | None:
    """None where both cells are empty. Raises ValueError for what are no seconds, or end before they start."""
    times: dict[str, float] = {}
    for name in NAMES:
        cell = cells.get(name)
        if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):  # a DataFrame's empty cell
            continue
        try:
            times[name] = float(cell)  # pyright: ignore[reportArgumentType]
        except (TypeError, ValueError):
            times[name] = math.nan
        if not 0 <= times[name] < math.inf:
            raise ValueError(
                f"{name} is {cell!r:.60}, expected seconds since the film's beginning, 0 or more; rename the column if "
                "it says something else"
            )
    if not times:
        return None
    part = Part(times.get("start", 0.0), times.get("end"))
    if part.end is not None and part.end <= part.start:
        raise ValueError(f"start is {part.start:g}, end is {part.end:g}; expected start < end")
    return part
