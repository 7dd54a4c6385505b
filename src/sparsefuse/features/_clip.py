"""One row's file comes in, a feature file per modality comes out: the work of one process on one clip."""

import errno
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse import media
from sparsefuse.features import Extractor, code_version, features, ready
from sparsefuse.files.shard import save
from sparsefuse.files.skipped import Unusable
from sparsefuse.files.whole import replacing
from sparsefuse.media import FileRequest, Limits
from sparsefuse.media.fetch import fetched

DTYPES = ("float32", "float16", "uint8")


class Make(NamedTuple):
    """One modality of a clip."""

    modality: str
    whole: bool
    """read the whole file, whatever part the row names"""
    name: str
    """its key in the file"""
    target: Path
    """the .safetensors file to write"""


class Maker(NamedTuple):
    """How a modality is made."""

    modality: str
    extractor: str
    options: dict[str, Any]
    """all of them, typed"""


class Clip(NamedTuple):
    """What to make from one file of a row."""

    row: int
    source: str
    """path or URL"""
    start: float
    end: float | None
    """the part of the file, in seconds"""
    makes: tuple[Make, ...]
    limits: Limits
    folder: Path
    """for copies of files that a URL names"""


class Failure(NamedTuple):
    """Why a modality of a clip was not made."""

    reason: str
    bug: bool = False
    """whether the extractor is wrong rather than the clip"""
    ours: bool = False
    """whether the reason lacks the file's name"""


def begin(folder: str, makers: Sequence[Maker]) -> None:
    """What a process does before its first clip: it loads the extractors, in the folder that paths are relative to."""
    if os.getcwd() != folder:
        os.chdir(folder)
    for maker in makers:
        made_of = maker, code_version(maker.extractor)
        if maker.modality not in _loaded or _loaded[maker.modality][0] != made_of:
            _loaded[maker.modality] = made_of, ready(maker.extractor, maker.options)
        if not isinstance(_loaded[maker.modality][1].request(), FileRequest):
            media.import_av()


_loaded: dict[str, tuple[tuple[Maker, int], Extractor]] = {}
"""modality -> what its extractor was made of, and the extractor, which may hold a model: this process has it once"""


def make(clip: Clip) -> list[Failure | None]:
    """Writes the clip's features; gives what went wrong, per modality.

    Raises OSError when the features cannot be written: the next clip could not be written either.
    """
    try:
        path = fetched(clip.source, clip.folder, clip.limits)
    except Unusable as error:
        return [Failure(str(error))] * len(clip.makes)
    extractors = [_loaded[make_.modality][1] for make_ in clip.makes]
    failures: list[Failure | None] = []
    for make_, extractor, found in zip(clip.makes, extractors, _found(path, clip, extractors), strict=True):
        made = _made(path, clip, make_, extractor, found)
        if isinstance(made, Failure):
            failures.append(made)
        else:
            _write(make_, made)
            failures.append(None)
    return failures


def _found(path: Path, clip: Clip, extractors: list[Extractor]) -> list[Any]:
    """What each extractor asked for, or a Failure; those that read the same part share one pass over the file."""
    found: list[Any] = [None] * len(extractors)
    for whole in (False, True):
        group = [i for i, make_ in enumerate(clip.makes) if make_.whole == whole]
        if not group:
            continue
        start, end = (0.0, None) if whole else (clip.start, clip.end)
        try:
            requests = [extractors[i].request() for i in group]
            read = media.read(path, requests, start=start, end=end, limits=clip.limits)
        except Exception as error:
            read = [_failure(error, path, clip, clip.makes[group[0]])] * len(group)
        for i, got in zip(group, read, strict=True):
            found[i] = got
    return found


def _made(path: Path, clip: Clip, make_: Make, extractor: Extractor, found: Any) -> np.ndarray | Failure:
    if isinstance(found, Failure):
        return found
    try:
        made = features(extractor, found, str(path))
        _check(made)
    except Exception as error:
        return _failure(error, path, clip, make_)
    return made


def _failure(error: Exception, path: Path, clip: Clip, make_: Make) -> Failure:
    """What a person is told; it does not depend on where a copy of the file lay."""
    text = str(error).replace(str(path), clip.source)
    if clip.source not in text:
        text = f"{clip.source}: {text}"
    if isinstance(error, Unusable | OSError):
        return Failure(text)
    if isinstance(error, MemoryError):
        return Failure(f"{clip.source}: needs more memory than there is; use a lower rate or size, or fewer jobs")
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    name = _loaded[make_.modality][0][0].extractor
    return Failure(f"{text} (extractor {name!r}: {type(error).__name__} in {place})", bug=True)


def _check(made: np.ndarray) -> None:
    if not isinstance(made, np.ndarray) or made.ndim != 2 or made.dtype.name not in DTYPES:
        got = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
        raise TypeError(f"the extractor gave {got}, expected {' or '.join(DTYPES)} (N, F)")
    if 0 in made.shape:
        raise Unusable(f"gives no features: {made.shape} (N, F), expected at least (1, 1)")
    bad = 0 if made.dtype == np.uint8 else made.size - int(np.isfinite(made).sum())
    if bad:
        raise Unusable(f"{bad} of {made.size} features are NaN or infinite, expected finite numbers")


def _write(make_: Make, made: np.ndarray) -> None:
    with disk_full(make_.target), replacing(make_.target) as temporary:
        save(temporary, {make_.name: made})


@contextmanager
def disk_full(target: Path) -> Iterator[None]:
    """Says what to do when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        hint = "the disk is full; free some space and run the same command again, finished clips are kept"
        raise OSError(errno.ENOSPC, hint, str(target)) from error
