"""The fusion methods, one file each, found by file name: adding a method is adding a file that defines `build`."""

import inspect
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import import_module, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sparsefuse.callable_package import make_callable
from sparsefuse.errors import unknown
from sparsefuse.options import check_kind, check_kinds

if TYPE_CHECKING:  # listing the methods must not load torch
    from sparsefuse.model import FusionModel


_OF_ALL = ("stem", "pos_embed", "modalities")
"""Options of every method, which its `build` does not see."""


def methods() -> list[str]:
    """Names of the methods that come with sparsefuse."""
    return list(_files())


@cache
def _files() -> tuple[str, ...]:
    """Read once: a model asks for them several times while it is built."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg))


def fusions() -> list[str]:
    """Names of the fusion methods: all but `unimodal`."""
    return [name for name in methods() if name != "unimodal"]


BASELINE = "baseline"
"""statistics and scikit-learn; no fusion method, but built, stored and compared as if it were one"""


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
    before it is embedded (see `layers.stem`), `pos_embed`, how positions begin (`Embed.set_positions`), and
    `modalities`, those that are read: others may be given, and are not. Raises ValueError for unknown names or options.
    """
    if not features:
        raise ValueError("features must name at least one modality, as in {'rgb': 1024}; got none")
    for name in lengths or ():
        if name not in features:
            raise ValueError(f"lengths: {unknown('modality', name, features)}")
    from sparsefuse.layers.stem import stems  # listing the methods must not load torch

    known = option_names(method)
    for name in options:
        if name not in known and method != BASELINE:
            raise ValueError(unknown(f"option of {method}", name, known))
    check_kinds(find(method).build, options, method)
    read = _read(options.pop("modalities", None), features)
    of_others = features.keys() - read.keys()
    options = {name: _without(of_others, features, value) for name, value in options.items()}
    options = {name: value for name, value in options.items() if value != {}}
    made = stems(options.pop("stem", None), read)
    widths = {name: made[name].features if name in made else width for name, width in read.items()}
    if lengths is not None:
        lengths = {name: made[name].length(n) if name in made else n for name, n in lengths.items() if name in read}
    positions = _pos_embed(options.pop("pos_embed", {}))
    model: FusionModel = find(method).build(widths, num_classes, lengths=lengths, **options)
    if method != BASELINE:  # it has none
        model.embed.set_positions(**positions)
    if made:
        model.put_before(made, read)
    if of_others:
        model.features = {name: features[name] for name in sorted(features)}
    return model


def _read(names: Sequence[str] | None, features: Mapping[str, int]) -> dict[str, int]:
    """The features of these modalities, or of all. Raises ValueError for unknown ones, or none."""
    if names is None:
        return dict(features)
    check_kind(Sequence[str], names, "modalities")
    if not names:
        raise ValueError(f"modalities is {names!r}; expected a list of one or more of {', '.join(features)}")
    for name in names:
        if name not in features:
            raise ValueError(f"modalities: {unknown('modality', name, features)}")
    return {name: width for name, width in features.items() if name in names}


def _pos_embed(given: Any) -> Mapping[str, Any]:
    """The arguments of `Embed.set_positions`. Raises ValueError for anything else."""
    if not isinstance(given, Mapping):
        raise ValueError(f"pos_embed is {given!r}; expected kind and scale, as in {{'scale': 0.1}}")
    for key in given:
        if key not in ("kind", "scale"):
            raise ValueError(f"pos_embed: {unknown('key', key, ('kind', 'scale'))}")
    check_kind(float, given.get("scale", 1.0), "pos_embed.scale")
    return given


def _without(others: Collection[str], features: Mapping[str, int], value: Any) -> Any:
    """An option without what it says of modalities that are not read; others stay as they are."""
    if not isinstance(value, Mapping) or not value.keys() <= features.keys():
        return value
    return {name: part for name, part in value.items() if name not in others}


def option_names(method: str) -> list[str]:
    """Options that the method's `build` takes besides features, num_classes and lengths; and those that all have. Of
    the baseline those that say how it is fitted; the others come of that."""
    if method == BASELINE:
        return ["modalities", "kind", "strength"]
    own = [*inspect.signature(find(method).build).parameters]
    return [name for name in own if name not in ("features", "num_classes", "lengths")] + [*_OF_ALL]


def find(method: str) -> ModuleType:
    """The module of a method: by name, or by the path of a .py file that defines `build`."""
    if method.endswith(".py"):
        return _from_file(Path(method))
    if method == BASELINE:
        return import_module("sparsefuse.baseline.model")
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
