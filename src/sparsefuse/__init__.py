"""Accurate and cheap classifiers for clips with several streams.

`build` a model, `load` a trained one; everything else is reached through the `sparsefuse` command.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Tokens", "backend", "build", "load", "methods"]

if TYPE_CHECKING:
    from sparsefuse.inference.predictor import load
    from sparsefuse.layers.ops import backend
    from sparsefuse.methods import build, methods
    from sparsefuse.tokens import Tokens

_HOMES = {
    "Tokens": "tokens",
    "backend": "layers.ops",
    "build": "methods",
    "load": "inference.predictor",
    "methods": "methods",
}


def __getattr__(name: str) -> Any:
    """Imports the public names on first use: `sparsefuse --help` must answer without loading torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sparsefuse' has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    home = import_module(f"sparsefuse.{_HOMES[name]}")
    return home if name == "methods" else getattr(home, name)  # the folder itself is callable
