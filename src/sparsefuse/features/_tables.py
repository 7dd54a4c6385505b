"""Reads sensor files for `check`, as `extract` would."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse.data.contents import Span, TableReadings
from sparsefuse.features import PLACE, Extractor, Timed, build, features, source_of
from sparsefuse.media import File


class TableReader(NamedTuple):
    """Makes what a column of tables is extracted to."""

    makers: tuple[tuple[Extractor, bool], ...]
    """each with whether it reads whole files, whatever part a row names"""

    def __call__(self, path: Path, spans: Sequence[Span]) -> TableReadings:
        """Features of these parts, one after another; several modalities side by side if they are equally long."""
        made, notes = [], []
        for maker, whole in self.makers:
            parts = [Span()] if whole else spans
            made.append([features(maker, File(path, *part), str(path)) for part in parts])
            notes += maker.notes(path) if isinstance(maker, Timed) else []
        values = [np.concatenate(parts) for parts in made]
        alike = [part for part in values if len(part) == len(values[0])]
        return TableReadings(np.concatenate(alike, axis=1), len(made[0][0]), tuple(dict.fromkeys(notes)))


def table_readers(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, TableReader | None]:
    """Column -> its reader, of the columns that `features` names as a source; None if no sensor's extractor reads it.

    Raises ValueError for a wrong option."""
    makers: dict[str, list[tuple[Extractor, bool]]] = {}
    for spec in specs.values():
        if "extractor" not in spec or not spec.get("source"):
            continue
        of = makers.setdefault(spec["source"], [])
        if source_of(spec["extractor"]) not in ("video", "audio"):
            maker = build(spec["extractor"], {key: value for key, value in spec.items() if key not in PLACE})
            of += [(maker, bool(spec.get("whole")))] * isinstance(maker, Timed)
    return {column: TableReader(tuple(of)) if of else None for column, of in makers.items()}
