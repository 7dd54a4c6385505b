"""The clips that files on a command line stand for: paths in; names, and clips for a predictor, out."""

import io
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sparsefuse.data.arrays import load as load_array
from sparsefuse.data.formats._media import walk
from sparsefuse.data.formats.folders import COLUMNS
from sparsefuse.errors import near_file
from sparsefuse.features import PART, source_of
from sparsefuse.files.references import AUDIO, FEATURES, FILES, IMAGES, MEDIA, TABLES, TEXTS, VIDEO, split_ref, suffix
from sparsefuse.files.rows import SUFFIXES, check_ids, numbered, read_table
from sparsefuse.files.skipped import Unusable
from sparsefuse.inference.pairs import with_pairs
from sparsefuse.inference.predictor import Clip, Predictor
from sparsefuse.media.fetch import is_url
from sparsefuse.shown import counted, shown

log = logging.getLogger(__name__)

_READ = {"video": VIDEO | IMAGES, "audio": AUDIO | VIDEO, "text": TEXTS, "series": TABLES}
"""column that an extractor reads by default -> suffixes of its files"""


def named_clips(files: Sequence[Path], predictor: Predictor) -> Iterator[tuple[str, Clip | Unusable]]:
    """(name, clip) of every file. A folder stands for its files, those that differ in their suffix alone are one clip;
    a manifest for its rows, of which the predictor's columns are read; rgb=a.mp4, several in a row, for one clip; - for
    the lines of standard input."""
    return ((name, clip) for name, clip, _ in named(files, predictor))


def named(files: Sequence[Path], predictor: Predictor) -> Iterator[tuple[str, Clip | Unusable, Path | None]]:
    """(name, clip, folder of what named it) of every clip; None if that is the caller. Raises ValueError for a file
    with a name that is no modality."""
    for path in with_pairs(files, predictor.columns):
        if isinstance(path, dict):
            streams = {name: predictor.stream(name, file, Path()) for name, (file,) in path.items()}
            yield next(iter(path.values()))[0], streams, None
        elif str(path) == "-":
            yield from ((name, clip, Path()) for name, clip in _lines(predictor))
        elif path.is_dir():
            yield from ((name, clip, None) for name, clip in _in_folder(path, predictor))
        elif not (path.exists() or is_url(str(path)) or Path(split_ref(str(path))[0]).exists()):
            yield str(path), Unusable(f"there is no such file{near_file(path)}"), None
        elif path.suffix.lower() in SUFFIXES and not is_readings(path, predictor):
            yield from ((name, clip, path.parent) for name, clip in _rows(path, predictor))
        else:
            yield str(path), _arrays(path, predictor), None


def is_readings(path: Path, predictor: Predictor) -> bool:
    """Whether a table is a clip's, of a sensor, of words or of features, rather than a manifest, which names files, has
    sentences, or has ids and columns of the run."""
    try:
        table = read_table(path)
    except ValueError:
        return not re.match(rb"\W*id\W", path.read_bytes()[:99], re.IGNORECASE)
    ids = "id" in table.columns
    files = any(table.holds(name, FILES) for name in table.columns)
    own = [name for name in table.columns if name in predictor.columns]
    texts = any(map(predictor.reads_text, predictor.columns))
    if texts and (any(map(predictor.reads_text, own)) or any(map(table.is_text, table.columns))):
        return False
    return not (files or (ids and own)) if predictor.reads_tables else not (ids or files or own)


def kinds_expected(clip: Clip | Unusable, predictor: Predictor) -> str:
    """What to say of a file of none of the kinds that the run reads; else nothing."""
    kinds = frozenset[str]().union(*(_kinds(name, predictor) for name in predictor.model.modalities))
    known = not isinstance(clip, Path) or suffix(str(clip)) in kinds
    return "" if known else f"; the run reads {', '.join(sorted(kinds))}"


def _in_folder(folder: Path, predictor: Predictor) -> Iterator[tuple[str, Clip]]:
    """The files of the kinds that the run reads, sorted. Raises FileNotFoundError if there are none."""
    kinds = [_kinds(name, predictor) for name in predictor.model.modalities]
    clips: dict[Path, list[Path]] = {}
    lost = []
    for path in walk(folder):
        if any(path.suffix.lower() in kind for kind in kinds):
            clips.setdefault(path.with_suffix(""), []).append(path)
        else:
            lost.append(path)
    if not clips:
        expected = ", ".join(sorted(frozenset().union(*kinds)))
        raise FileNotFoundError(f"{folder} has no file that the run reads; expected {expected}")
    if lost:
        log.warning("%s: %s of other kinds left out, such as %s", folder, counted(len(lost), "file"), lost[0].name)
    for stem, paths in clips.items():
        columns = {name: path for path in paths for name, kind in COLUMNS.items() if path.suffix.lower() in kind}
        if len(paths) > 1 and len(columns) == len(paths) and columns.keys() <= set(predictor.columns):
            yield str(stem), columns
        else:
            yield from ((str(path), _arrays(path, predictor)) for path in paths)


def _kinds(name: str, predictor: Predictor) -> frozenset[str]:
    """The suffixes of the files that a modality is made from."""
    extractor = predictor.extract.get(name, {}).get("extractor")
    return FEATURES if extractor is None else _READ.get(source_of(extractor), MEDIA | TABLES)


def _arrays(path: Path, predictor: Predictor) -> Clip:
    """The arrays of a feature file that are called as the modalities are; the file itself if none is."""
    if suffix(str(path)) not in FEATURES - TABLES or "#" in path.name:
        return path
    arrays = {}
    for name in predictor.model.modalities:
        with suppress(Unusable):
            load_array(f"{path}#{name}", Path())
            arrays[name] = Path(f"{path}#{name}")
    return arrays or path


def _rows(path: Path, predictor: Predictor) -> Iterator[tuple[str, Clip]]:
    table, columns = numbered(read_table(path)), predictor.columns
    check_ids(path, table)
    present = [name for name in columns if name in table.columns]
    if not present:
        raise ValueError(
            f"{path}: no column is one of {', '.join(columns)}, which the model reads; columns: "
            f"{', '.join(table.columns)}; rename one"
        )
    for row in table.rows:
        yield row["id"], predictor.clip(row, path.parent)


def _lines(predictor: Predictor) -> Iterator[tuple[str, Clip | Unusable]]:
    """A clip per line of standard input: the path of a media file, or {modality: path} as JSON, with an `id` if it has
    one. A line that is neither gives an Unusable."""
    columns = predictor.columns
    if isinstance(sys.stdin, io.TextIOWrapper):  # bytes that are no UTF-8 stay what they are: names of files
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(sys.stdin, 1):
        text = line.strip()
        if not text:
            continue
        if not text.startswith("{"):
            yield text, Path(text)
            continue
        name = f"line {number}"
        try:
            paths = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield name, Unusable(f"not JSON ({str(error)[:100]}): {shown(text)}")
            continue
        name = str(paths.pop("id", name))
        part = {key: paths.pop(key) for key in PART if key in paths and key not in columns and predictor.extract}
        wrong = [key for key, value in paths.items() if key not in columns or not isinstance(value, str)]
        if wrong:
            yield (
                name,
                Unusable(
                    f"expected the paths of {', '.join(columns)}; got {shown(wrong[0])!r}: {shown(paths[wrong[0]])!r}"
                ),
            )
        else:
            yield name, part | {key: predictor.stream(key, value, Path()) for key, value in paths.items()}
