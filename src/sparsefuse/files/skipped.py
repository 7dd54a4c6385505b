"""Skipped samples: every unusable file or sample is listed once in `skipped.jsonl`, with the reason.

What nobody foresaw has its traceback in `errors.log` beside it.
"""

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sparsefuse.files.whole import write_text
from sparsefuse.shown import REASON, said, shown

LOG = "errors.log"
ENDS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What ends the work, whatever file is being read."""


class Unusable(ValueError):
    """A file or sample that cannot be used. The message says what, where, got and expected, for the user.

    It is one line of at most `REASON` letters, whatever names of files and columns it holds.
    """

    trace = ""
    """the traceback of an error that nobody foresaw"""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, REASON))


@contextmanager
def one_file(name: object, *known: type[Exception]) -> Iterator[None]:
    """Within it, an error that nobody foresaw is an Unusable of the file: it must not cost more than that. `known` ones
    pass."""
    try:
        yield
    except (Unusable, ImportError, *ENDS, *known):
        raise
    except BaseException as error:  # code in Rust panics with one that is no Exception
        raise unforeseen(name, error) from error


def unforeseen(name: object, error: BaseException) -> Unusable:
    """The Unusable for such an error in the file."""
    if isinstance(error, MemoryError):
        return Unusable(f"{name}: needs more memory than there is; use a lower rate or size, or fewer jobs")
    if isinstance(error, UnicodeEncodeError):
        why = f"has a name that is not in this system's encoding of names, {sys.getfilesystemencoding()}"
        return Unusable(f"{name}: {why}; set PYTHONUTF8=1")
    if isinstance(error, OSError):
        return Unusable(f"{name}: cannot be read ({said(error)})")
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
    unusable = Unusable(f"{name}: cannot be read ({said(error)}; {where})")
    unusable.trace = "".join(traceback.format_exception(error))[:10_000]
    return unusable


def place_of(trace: str) -> str:
    """The line of code that raised the error."""
    return trace.rpartition("  File ")[2].partition("\n")[0]


@dataclass(frozen=True)
class Skip:
    """One line of `skipped.jsonl`."""

    id: str
    """The sample's id in the manifest."""
    modality: str
    """The modality that could not be used; empty when the whole sample is unusable."""
    reason: str
    trace: str = field(default="", compare=False, repr=False)
    """The traceback of an error that nobody foresaw; not in the line, but in errors.log."""


def lost(count: int) -> str:
    """`1 clip or stream`, `2 clips or streams`."""
    return "1 clip or stream" if count == 1 else f"{count} clips or streams"


def write_skipped(path: Path, skips: list[Skip]) -> None:
    """Writes one JSON object a line, atomically, and errors.log beside it, each kind of error once; without skips the
    file is empty, so a rerun clears old lines."""
    keys = ("id", "modality", "reason")
    lines = [json.dumps({key: getattr(skip, key) for key in keys}, ensure_ascii=False) + "\n" for skip in skips]
    write_text(path, "".join(lines))
    kinds = {place_of(skip.trace): skip for skip in reversed(skips) if skip.trace}
    log = path.with_name(LOG)
    log.unlink(missing_ok=True)
    if kinds:
        write_text(log, "\n".join(f"{s.id} {s.modality}: {s.reason}\n\n{s.trace}" for s in reversed(kinds.values())))
