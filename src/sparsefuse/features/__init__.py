"""Extractors by file name: `frames` is `features/frames.py`. One file each, found without importing it.

An extractor file defines `SOURCE`, "video" or "audio": the manifest column it reads unless told otherwise, and
`extract(path, *, options...) -> np.ndarray`, (N, F) float32, whose typed, keyword-only options have defaults.
"""

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sparsefuse.names import unknown

_RUN = "extract"  # extract.py is the run over a manifest, not an extractor


def extractors() -> list[str]:
    """The names of the extractors in this folder, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != _RUN and not m.name.startswith("_"))


def extractor(name: str) -> Callable[..., np.ndarray]:
    """The function `extract(path, **options) -> (N, F) float32` of an extractor, by name or by path of a .py file."""
    return _module(name).extract


def source_of(name: str) -> str:
    """The manifest column an extractor reads unless told otherwise: "video" or "audio"."""
    return _module(name).SOURCE


def resolve(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an extractor, typed, with its defaults filled in. Raises ValueError for a wrong one."""
    from argparse import ArgumentError

    from jsonargparse import ArgumentParser

    function = extractor(name)
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"option of extractor {Path(name).stem!r}:", option, known))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(function, skip={"path"})
    try:
        return parser.parse_object(dict(options)).as_dict()
    except ArgumentError as error:
        raise ValueError(f"extractor {Path(name).stem!r}: {error}") from error


def fingerprint(name: str) -> str:
    """Tells one version of an extractor's code from another."""
    return hashlib.sha256(Path(inspect.getfile(extractor(name))).read_bytes()).hexdigest()


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        if name not in extractors():
            raise ValueError(unknown("extractor", name, extractors()))
        return importlib.import_module(f"{__name__}.{name}")
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"extractor {name!r}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"sparsefuse_extractor_{path.stem}", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for needed in ("SOURCE", "extract"):
        if not hasattr(module, needed):
            raise ValueError(f"extractor {name!r} does not define `{needed}`")
    return module
