"""Skipped samples: every unusable file or sample is listed once in `skipped.jsonl`, with the reason."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sparsefuse.files.whole import write_text


class Unusable(ValueError):
    """A file or sample that cannot be used. The message says what, where, got and expected, for the user."""


@dataclass(frozen=True)
class Skip:
    """One line of `skipped.jsonl`."""

    id: str
    """The sample's id in the manifest."""
    modality: str
    """The modality that could not be used; empty when the whole sample is unusable."""
    reason: str


def write_skipped(path: str | Path, skips: list[Skip]) -> None:
    """Writes one JSON object a line, atomically; an empty list gives an empty file, so a rerun clears old lines."""
    write_text(path, "".join(json.dumps(asdict(skip), ensure_ascii=False) + "\n" for skip in skips))
