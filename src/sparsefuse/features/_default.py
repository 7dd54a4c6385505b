"""What is extracted when nobody says: the columns of a manifest in, an entry of `features` for each modality out."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparsefuse.features._cells import Layout, read_cells
from sparsefuse.files.references import AUDIO, FEATURES, IMAGES, TABLES, TEXTS, VIDEO
from sparsefuse.files.rows import Table, time_columns
from sparsefuse.files.skipped import Unusable

log = logging.getLogger(__name__)

_PICTURES = {"extractor": "frames", "rate": 10}


def default_features(
    table: Table, root: Path, *, tables: bool = False, label: str = "label"
) -> dict[str, dict[str, Any]]:
    """Films and pictures give frames, ten a second; sound a spectrogram, that of films if there is no other; text its
    words, hashed, be they in files or in the cells themselves (not in those of `label`). With `tables`, .csv files are
    a sensor's readings, and a column called time is none of them; without, they are features. Columns of features are
    left alone."""
    chosen: dict[str, dict[str, Any]] = {}
    films = [column for column in table.columns if _is(table, column, "video", VIDEO)]
    sounds = [column for column in table.columns if _is(table, column, "audio", AUDIO)]
    for column in table.columns:
        if column in films or table.holds(column, IMAGES):
            chosen[_name(column)] = {**_PICTURES, "source": column}
        elif column in sounds:
            chosen[_name(column)] = {"extractor": "spectrogram", "source": column}
        elif table.holds(column, TEXTS):
            chosen[_name(column)] = {"extractor": "text", "source": column}
        elif tables and table.holds(column, TABLES):
            chosen[_name(column)] = {"extractor": "series", "source": column, **_readings(table, column, root)}
        elif column != label and table.is_text(column):
            chosen[_name(column)] = {"extractor": "text", "source": column}
    if films and not sounds and "audio" not in table.columns:
        chosen["audio"] = {"extractor": "spectrogram", "source": films[-1]}
    return chosen


def _is(table: Table, column: str, name: str, kinds: frozenset[str]) -> bool:
    """Whether it holds such files, or has their name: what FFmpeg decodes may have any suffix."""
    return table.holds(column, kinds) or (column == name and not table.holds(column, FEATURES))


def _name(column: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", column)


def _readings(table: Table, column: str, root: Path) -> dict[str, Any]:
    """The columns of readings, if the first file that can be read has one of times."""
    names = next(_headers(table, column, root), [])
    times = time_columns(names)
    if times:
        text = "column %r: %r is taken as the time, not as a reading; to use it: --features.%s.time %r"
        log.info(text, column, times[0], _name(column), times[0])
    return {"columns": [name for name in names if name not in times]} if times else {}


def _headers(table: Table, column: str, root: Path) -> Iterator[list[str]]:
    for row in table.rows:
        try:
            yield read_cells(root / row[column], Layout()).names
        except Unusable:
            continue
