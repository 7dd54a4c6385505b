"""Extractors by file name: `frames` is `features/frames.py`. One file each, found without importing it.

An extractor file defines `SOURCE`, the manifest column it reads by default ("video", "audio", "text" ...),
and one of two things:

- `extract(path, *, options...) -> (N, F)`, a function whose typed, keyword-only options have defaults. If it can read a
  part of a file, it also takes the keywords `start: float = 0.0` and `end: float | None = None`, in seconds; else a row
  that names a part is refused.
- `class Extractor`, a frozen dataclass whose fields are the options, with `request()`, what to read of the file (a
  `media.FramesRequest`, `SoundRequest` or `FileRequest`), and `features(decoded) -> (N, F)`, computed from that. All
  extractors of one film share one pass over it. What is costly to load is kept on the instance
  (`functools.cached_property`): a process makes one for all its clips. It raises ValueError for a wrong option when it
  is constructed. Optional: `fingerprint() -> str`, what else the features depend on, such as a model's checksum, and
  `times` and `notes`, see `Timed`.

Features are float32, float16 or uint8; they are read as float32. Both raise `skipped.Unusable` for a clip that
cannot be used; the file's name is put before the reason if it is not in it. `PACKAGES`, a tuple of the names of
distributions, is optional: another version of one makes the features again (those of av, numpy and torch always do).
`FILES`, a tuple of names of options, is optional: those that name a file, a folder or a model of the hub.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sparsefuse import media
from sparsefuse.errors import unknown
from sparsefuse.extras import versions
from sparsefuse.features._options import wrong_option
from sparsefuse.features._packaged import PACKAGED
from sparsefuse.features._part import NAMES as PART
from sparsefuse.files.skipped import Unusable
from sparsefuse.media import File, FileRequest, Request
from sparsefuse.options import check_kind

_RUN = "extract"  # extract.py is the run over a manifest, not an extractor
_PACKAGES = ("av", "numpy", "torch")
PLACE = ("extractor", "source", "whole")
"""Keys of a modality's entry in `features` that are not options of its extractor."""


class Extractor(Protocol):
    """Computes the features of one modality, with its options."""

    def request(self) -> Request:
        """What to read of a file."""
        ...

    def features(self, decoded: Any, /) -> np.ndarray:
        """Features (N, F) from the result of the request. Raises Unusable."""
        ...


@runtime_checkable
class Timed(Protocol):
    """An extractor whose tokens need not be evenly spaced over a file."""

    def times(self, path: Path, /) -> np.ndarray:
        """Seconds (N,) since the file's beginning of the tokens of the whole file. Raises Unusable."""
        ...

    def notes(self, path: Path, /) -> list[str]:
        """What is odd about the times of a file that can be used. Raises Unusable."""
        ...


@runtime_checkable
class Patched(Protocol):
    """An extractor of which several tokens may be of one moment."""

    def patches(self) -> int:
        """How many are."""
        ...


def extractors() -> list[str]:
    """The names of the extractors in this folder, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != _RUN and not m.name.startswith("_"))


def extractor(name: str) -> Callable[..., np.ndarray]:
    """The function `extract(path, *, start=0.0, end=None, **options) -> (N, F) float32` of an extractor, by name or by
    path of a .py file. It raises Unusable."""
    _module(name)

    def extract(path: str | Path, *, start: float = 0.0, end: float | None = None, **options: Any) -> np.ndarray:
        maker = build(name, options)
        request = maker.request()
        if isinstance(request, FileRequest) and not request.parts and (start or end is not None):
            raise Unusable(f"{path}: the extractor {Path(name).stem!r} cannot read a part of a file")
        (decoded,) = media.read(path, [request], start=start, end=end)
        return features(maker, decoded, str(path)).astype(np.float32, copy=False)

    return extract


def features(maker: Extractor, decoded: Any, source: str) -> np.ndarray:
    """Features of what was read from `source`. Raises Unusable, with the name of `source` in its text."""
    try:
        if isinstance(decoded, Unusable):
            raise decoded
        return maker.features(decoded)
    except Unusable as error:
        if source in str(error):
            raise
        raise Unusable(f"{source}: {error}") from error


def check_specs(features: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ValueError unless these are mappings, whose extractors and sources have names."""
    check_kind(Mapping[str, Mapping[str, Any]], features, "features")
    for modality, entry in features.items():
        for name in ("extractor", "source"):
            check_kind(str, entry.get(name, ""), f"features.{modality}.{name}")


def build(name: str, options: Mapping[str, Any]) -> Extractor:
    """The extractor with these options, cached by name and options. Raises ValueError for a wrong one."""
    try:
        # The key is not resolved: this is called for every clip, and resolving takes longer than decoding one.
        return _build(name, code_version(name), json.dumps(options, sort_keys=True))
    except TypeError as error:
        raise ValueError(f"extractor {Path(name).stem!r}: options must be plain values; got {dict(options)}") from error


def ready(name: str, options: Mapping[str, Any]) -> Extractor:
    """The extractor with options from `resolve`: without the parser, which takes longer to import than some clips take
    to decode. Raises ValueError."""
    module = _module(name)
    try:
        return module.Extractor(**options) if hasattr(module, "Extractor") else _Function(module.extract, options)
    except ValueError as error:
        raise ValueError(f"extractor {Path(name).stem!r}: {error}") from error


def code_version(name: str) -> int:
    """Changes when the extractor's file does."""
    module = _module(name)
    assert module.__file__ is not None, module
    return Path(module.__file__).stat().st_mtime_ns


def source_of(name: str) -> str:
    """The manifest column an extractor reads by default: "video", "audio", "text" ..."""
    return _module(name).SOURCE


def files_of(spec: Mapping[str, Any]) -> dict[str, str]:
    """Option -> the file, folder or model of the hub that it names, of a modality's entry in `features`."""
    names = getattr(_module(spec["extractor"]), "FILES", ())
    return {name: str(spec[name]) for name in names if spec.get(name) not in (None, *PACKAGED)}


def with_files(spec: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A modality's entry in `features` with the paths in it changed. Own code is not run to learn its options."""
    if spec["extractor"].endswith(".py"):
        return {**spec, "extractor": change(spec["extractor"])}
    files = files_of(spec) if spec["extractor"] in extractors() else {}
    return {**spec, **{name: file_or_name(file, change) for name, file in files.items()}}


def file_or_name(text: str, change: Callable[[str], str]) -> str:
    """A path, changed, if there is such a file before or after; else it is a name on the hub, and stays."""
    return change(text) if text and (os.path.exists(text) or os.path.exists(change(text))) else text


def resolve(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an extractor, typed, with its defaults filled in. Raises ValueError for a wrong one."""
    from argparse import ArgumentError

    from jsonargparse import ArgumentParser

    module = _module(name)
    target = module.Extractor if hasattr(module, "Extractor") else module.extract
    names = [p.name for p in inspect.signature(target).parameters.values() if p.name not in ("path", *PART)]
    for option in options:
        if option not in names:
            raise ValueError(unknown(f"option of extractor {Path(name).stem!r}:", option, names))
    parser = ArgumentParser(exit_on_error=False)
    if target is getattr(module, "Extractor", None):
        parser.add_class_arguments(target)
    else:
        parser.add_function_arguments(target, skip={"path", *PART})
    try:
        return parser.parse_object(dict(options)).as_dict()
    except ArgumentError as error:
        match = re.match(r'Parser key "([^"]+)"', str(error))
        parameter = inspect.signature(target, eval_str=True).parameters.get(match[1]) if match else None
        reason = str(error) if parameter is None else wrong_option(parameter, options[parameter.name])
        raise ValueError(f"extractor {Path(name).stem!r}: {reason}") from error


def fingerprint(name: str, options: Mapping[str, Any]) -> str:
    """A hash of all that the features depend on: code, versions, options, and what the extractor adds."""
    module, maker = _module(name), build(name, options)
    packages = versions((*_PACKAGES, *getattr(module, "PACKAGES", ())))
    own = maker.fingerprint() if hasattr(maker, "fingerprint") else ""  # pyright: ignore[reportAttributeAccessIssue]
    parts = [_file_hash(module), _code_hash(), packages, resolve(name, options), own]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Function:
    """A function `extract(path, *, options...)` as an Extractor."""

    def __init__(self, function: Callable[..., np.ndarray], options: Mapping[str, Any]) -> None:
        self._function, self._options = function, options
        self._parts = set(PART) <= set(inspect.signature(function).parameters)

    def request(self) -> FileRequest:
        return FileRequest(parts=self._parts)

    def features(self, decoded: File, /) -> np.ndarray:
        part = {"start": decoded.start, "end": decoded.end} if self._parts else {}
        return self._function(decoded.path, **part, **self._options)


@lru_cache(maxsize=16)
def _build(name: str, code: int, options: str) -> Extractor:
    return ready(name, resolve(name, json.loads(options)))


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        if name not in extractors():
            raise ValueError(unknown("extractor", name, extractors()))
        return importlib.import_module(f"{__name__}.{name}")
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"extractor {name!r}: there is no such file")
    return _own_module(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _own_module(path: Path, changed: int) -> ModuleType:
    name = f"sparsefuse_extractor_{path.stem}_{abs(hash((path, changed)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where a parser of docstrings looks for a class's source
    spec.loader.exec_module(module)
    if not hasattr(module, "SOURCE"):
        raise ValueError(f"extractor {str(path)!r} does not define `SOURCE`")
    if hasattr(module, "extract") == hasattr(module, "Extractor"):
        raise ValueError(f"extractor {str(path)!r} does not define either `extract` or `class Extractor`")
    return module


def _file_hash(module: ModuleType) -> str:
    assert module.__file__ is not None, module
    return hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def _code_hash() -> str:
    """Of the code that reads media, and of all that extractors share."""
    assert media.__file__ is not None, media
    files = sorted([*Path(media.__file__).parent.glob("*.py"), *Path(__file__).parent.glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
