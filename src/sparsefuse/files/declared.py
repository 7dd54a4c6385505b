"""How much memory a file may ask for: what it declares is compared with what it holds, before anything is allocated."""

import os
from collections.abc import Iterable
from math import prod

from sparsefuse.files.skipped import Unusable

OPTION = "SPARSEFUSE_BEYOND_GB"
"""environment variable: gigabytes that a file's content may take beyond the file's own size"""
GIGABYTES = 0.25
"""unpacking, and statistics in float64, take up to three times as much for a moment"""

ROW = 1000
"""bytes that a row of a manifest takes in memory, about"""


def beyond() -> int:
    """The option in bytes. Raises ValueError if it is no number above 0."""
    text = os.environ.get(OPTION, "")
    try:
        value = float(text or GIGABYTES)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError(f"{OPTION} is {text[:60]}, expected gigabytes, a number above 0")
    return int(value * 1e9)


def check_bytes(declared: int, held: int, what: str = "its content", room: int = 0) -> None:
    """Raises Unusable if content of `declared` bytes takes far more than the `held` bytes of its file, and `room`."""
    if declared > held + room + beyond():
        raise Unusable(
            f"{what} takes {declared / 1e9:.3g} GB of memory, its file has {held / 1e9:.3g} GB; "
            f"if that is right, set {OPTION} above {(declared - held - room) / 1e9:.3g}"
        )


def check_array(shape: Iterable[int], item: int, held: int) -> None:
    """The same for an array of `item` bytes a value, which later takes four a value at least."""
    values = prod(shape)
    check_bytes(values * max(item, 4), held * max(item, 4) // max(item, 1), f"an array of {values:,} values")
