"""Accurate and cheap classifiers for clips with several streams.

`Classifier` fits and predicts as scikit-learn's do. `extract` features, `check` the data, `train` a model or `compare`
many, `load` and predict, `export`: the commands of `sparsefuse` as functions. `build` gives a model alone, for a
training loop of one's own.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sparsefuse.budget.search import budget as budget
    from sparsefuse.checks import check as check
    from sparsefuse.classifier import Classifier as Classifier
    from sparsefuse.config import Config as Config
    from sparsefuse.distill.student import distill as distill
    from sparsefuse.experiments.fit import fit as fit
    from sparsefuse.experiments.grid import ablate as ablate
    from sparsefuse.experiments.grid import compare as compare
    from sparsefuse.export.artefact import export as export
    from sparsefuse.features.extract import extract as extract
    from sparsefuse.inference.ensemble import ensemble as ensemble
    from sparsefuse.inference.load import load as load
    from sparsefuse.layers.ops import backend as backend
    from sparsefuse.methods import build as build
    from sparsefuse.methods import methods as methods
    from sparsefuse.study.conduct import study as study
    from sparsefuse.tokens import Tokens as Tokens
    from sparsefuse.training.train import train as train

_HOMES = {
    "Classifier": "classifier",
    "Config": "config",
    "Tokens": "tokens",
    "ablate": "experiments.grid",
    "backend": "layers.ops",
    "budget": "budget",
    "build": "methods",
    "check": "checks",
    "compare": "experiments.grid",
    "distill": "distill",
    "ensemble": "inference.ensemble",
    "export": "export",
    "extract": "features.extract",
    "fit": "experiments.fit",
    "load": "inference.load",
    "methods": "methods",
    "study": "study",
    "train": "training.train",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Imports the public names on first use: `sparsefuse --help` must answer without loading torch."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(_unknown(name))
    home = import_module(f"sparsefuse.{_HOMES[name]}")
    return home if _HOMES[name] == name else getattr(home, name)  # a package of that name is callable itself


@lru_cache(1000)
def _unknown(name: str) -> str:
    """Why there is no such name. The command line's parser asks for a few names again and again."""
    from sparsefuse.errors import unknown

    return f"module 'sparsefuse': {unknown('name', name, __all__)}"


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
