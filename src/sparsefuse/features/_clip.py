"""The work of one process on one clip: reads the row's file, writes a feature file per modality."""

import errno
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sparsefuse import media
from sparsefuse.features import Extractor, Timed, code_version, features, ready
from sparsefuse.files.shard import save
from sparsefuse.files.skipped import ENDS, Unusable, one_file, unforeseen
from sparsefuse.files.whole import replacing
from sparsefuse.media import FileRequest, MediaLimits
from sparsefuse.media.fetch import fetched

DTYPES = ("float32", "float16", "uint8")


class Make(NamedTuple):
    """One modality of a clip, to extract."""

    modality: str
    whole: bool
    """read the whole file, whatever part the row names"""
    name: str
    """its key in the file"""
    target: Path
    """the .safetensors file to write"""


class Maker(NamedTuple):
    """The extractor of a modality."""

    modality: str
    extractor: str
    options: dict[str, Any]
    """all of them, typed"""


class Clip(NamedTuple):
    """The features to extract from one file of a row."""

    row: int
    source: str
    """path or URL"""
    start: float
    end: float | None
    """the part of the file, in seconds"""
    makes: tuple[Make, ...]
    limits: MediaLimits
    folder: Path
    """for copies of files that a URL names"""


class Failure(NamedTuple):
    """Why a modality of a clip could not be extracted."""

    reason: str
    bug: bool = False
    """whether the extractor raised it, rather than what reads the file"""
    ours: bool = False
    """whether the reason does not yet name the file"""
    trace: str = ""
    """of an error that nobody foresaw"""


class Note(NamedTuple):
    """What is odd about a file that could be used."""

    text: str


def begin(folder: str, makers: Sequence[Maker]) -> None:
    """What a process does before its first clip: it loads the extractors, in the folder that paths are relative to."""
    if os.getcwd() != folder:
        os.chdir(folder)
    for maker in makers:
        key = maker, code_version(maker.extractor)
        if maker.modality not in _loaded or _loaded[maker.modality][0] != key:
            _loaded[maker.modality] = key, ready(maker.extractor, maker.options)
        if not isinstance(_loaded[maker.modality][1].request(), FileRequest):
            media.import_av()


_loaded: dict[str, tuple[tuple[Maker, int], Extractor]] = {}
"""modality -> its extractor's options and code version, and the extractor; one per process, as it may hold a model"""


def make(clip: Clip) -> list[Failure | Note | None]:
    """Writes the clip's features; returns the failure of each modality, for success None or a note.

    Raises OSError when the features cannot be written: the next clip could not be written either.
    """
    try:
        with one_file(clip.source):
            path = fetched(clip.source, clip.folder, clip.limits)
    except Unusable as error:
        return [Failure(str(error), trace=error.trace)] * len(clip.makes)
    extractors = [_loaded[make_.modality][1] for make_ in clip.makes]
    results: list[Failure | Note | None] = []
    for make_, extractor, decoded in zip(clip.makes, extractors, _read(path, clip, extractors), strict=True):
        values = _features(path, clip, make_, extractor, decoded)
        if isinstance(values, Failure):
            results.append(values)
        else:
            _write(make_, values)
            notes = extractor.notes(path) if isinstance(extractor, Timed) else []
            results.append(Note(f"{clip.source}: {'; '.join(notes)}") if notes else None)
    return results


def _read(path: Path, clip: Clip, extractors: list[Extractor]) -> list[Any]:
    """The result of each extractor's request, or a Failure; those that read the same part share one pass."""
    results: list[Any] = [None] * len(extractors)
    for whole in (False, True):
        group = [i for i, make_ in enumerate(clip.makes) if make_.whole == whole]
        if not group:
            continue
        start, end = (0.0, None) if whole else (clip.start, clip.end)
        try:
            requests = [extractors[i].request() for i in group]
            read = media.read(path, requests, start=start, end=end, limits=clip.limits)
        except (ImportError, *ENDS):  # what is not installed is missing for every clip
            raise
        except BaseException as error:
            read = [_failure(error, path, clip, clip.makes[group[0]])] * len(group)
        for i, result in zip(group, read, strict=True):
            results[i] = result
    return results


def _features(path: Path, clip: Clip, make_: Make, extractor: Extractor, decoded: Any) -> np.ndarray | Failure:
    if isinstance(decoded, Failure):
        return decoded
    try:
        values = features(extractor, decoded, str(path))
        _check(values)
    except (ImportError, *ENDS):
        raise
    except BaseException as error:
        return _failure(error, path, clip, make_)
    return values


def _failure(error: BaseException, path: Path, clip: Clip, make_: Make) -> Failure:
    """The reason as reported; it names the source, not the local copy of a URL."""
    text = str(error).replace(str(path), clip.source)
    if clip.source not in text:
        text = f"{clip.source}: {text}"
    if isinstance(error, Unusable | OSError):
        return Failure(text, trace=error.trace if isinstance(error, Unusable) else "")
    if isinstance(error, MemoryError | UnicodeEncodeError):
        return Failure(str(unforeseen(clip.source, error)))
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    name = _loaded[make_.modality][0][0].extractor
    reason = f"{text} (extractor {name!r}: {type(error).__name__} in {place})"
    return Failure(reason, bug=True, trace=unforeseen(clip.source, error).trace)


def _check(values: np.ndarray) -> None:
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.name not in DTYPES:
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"the extractor gave {got}, expected {' or '.join(DTYPES)} (N, F)")
    if 0 in values.shape:
        raise Unusable(f"gives no features: {values.shape} (N, F), expected at least (1, 1)")
    bad = 0 if values.dtype == np.uint8 else values.size - int(np.isfinite(values).sum())
    if bad:
        raise Unusable(f"{bad} of {values.size} features are NaN or infinite, expected finite numbers")


def _write(make_: Make, values: np.ndarray) -> None:
    with disk_full(make_.target), replacing(make_.target, durable=False) as temporary:
        save(temporary, {make_.name: values})


@contextmanager
def disk_full(target: Path) -> Iterator[None]:
    """Adds what to do to the error of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        hint = "the disk is full; free some space and run the same command again, finished clips are kept"
        raise OSError(errno.ENOSPC, hint, str(target)) from error
