"""The fusion methods, one file each, found by file name: adding a method is adding a file that defines `build`."""

import inspect
import pkgutil
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparsefuse.callable_package import make_callable
from sparsefuse.errors import unknown

if TYPE_CHECKING:  # listing the methods must not load torch
    from sparsefuse.model import FusionModel


def methods() -> list[str]:
    """Names of the methods that come with sparsefuse."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def fusions() -> list[str]:
    """Names of the fusion methods: all but `unimodal`."""
    return [name for name in methods() if name != "unimodal"]


def build(
    method: str,
    features: dict[str, int],
    num_classes: int,
    *,
    lengths: dict[str, int] | None = None,
    **options: Any,
) -> "FusionModel":
    """Builds a model by name (`sft`) or from a file (`my/fusion.py`).

    `features`: raw feature size per modality. `lengths`: longest clip per modality, in tokens; makes positions learned,
    as published. `options`: what the method's own `build` takes, and for all of them `stem`, what a modality passes
    before it is embedded (see `layers.stem`). Raises ValueError for unknown names or options.
    """
    if not features:
        raise ValueError("features must name at least one modality, as in {'rgb': 1024}; got none")
    for name in lengths or ():
        if name not in features:
            raise ValueError(f"lengths: {unknown('modality', name, features)}")
    from sparsefuse.layers.stem import stems  # listing the methods must not load torch

    known = option_names(method)
    for name in options:
        if name not in known:
            raise ValueError(unknown(f"option of {method}", name, known))
    made = stems(options.pop("stem", None), features)
    widths = {name: made[name].features if name in made else width for name, width in features.items()}
    if lengths is not None:
        lengths = {name: made[name].length(n) if name in made else n for name, n in lengths.items()}
    model: FusionModel = find(method).build(widths, num_classes, lengths=lengths, **options)
    if made:
        model.put_before(made, features)
    return model


def option_names(method: str) -> list[str]:
    """Options that the method's `build` takes besides features, num_classes and lengths; and `stem`, which all have."""
    own = [*inspect.signature(find(method).build).parameters]
    return [name for name in own if name not in ("features", "num_classes", "lengths")] + ["stem"]


def find(method: str) -> ModuleType:
    """The module of a method: by name, or by the path of a .py file that defines `build`."""
    if method.endswith(".py"):
        return _from_file(Path(method))
    if method not in methods():
        raise ValueError(unknown("method", method, methods()))
    return import_module(f"{__name__}.{method}")


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no method file at {path}; give a name ({', '.join(methods())}) or a .py file")
    spec = util.spec_from_file_location(f"sparsefuse_method_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "build"):
        raise ValueError(f"{path} must define build(features, num_classes, *, lengths=None, ...); it does not")
    return module


make_callable(__name__, __name__)
