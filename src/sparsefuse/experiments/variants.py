"""The variants of an experiment: a configuration in, named variants of it out."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal, NamedTuple, get_args

import yaml

from sparsefuse.baseline import UNTRAINED
from sparsefuse.config import Config
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.errors import unknown

Subsets = Literal["all", "each", "leave-one-out"]
"""which modalities a method reads: all; or further rows of each alone, or of all but one"""


class Variant(NamedTuple):
    """A configuration with changed fields."""

    name: str
    """its name in tables: the method, `unimodal (rgb)`, `sft, pool=max`"""
    method: str
    options: Mapping[str, object] = MappingProxyType({})
    """further options of the method"""
    train: Mapping[str, object] = MappingProxyType({})
    """fields of `train`"""
    data: Mapping[str, object] = MappingProxyType({})
    """fields of `data`"""
    pixels: Mapping[str, object] = MappingProxyType({})
    """fields of `pixels`"""
    points: Mapping[str, object] = MappingProxyType({})
    """fields of `points`"""
    recipe: str = ""
    """another recipe; empty = the configuration's"""

    def of(self, config: Config, seed: int) -> Config:
        """The configuration of one run."""
        config = Config.load(config, recipe=self.recipe) if self.recipe else config
        options = {**config.options, self.method: {**config.options.get(self.method, {}), **self.options}}
        train = dataclasses.replace(config.train, **self.train)
        data = dataclasses.replace(config.data, **self.data)
        pixels = dataclasses.replace(config.pixels, **self.pixels)
        points = dataclasses.replace(config.points, **self.points)
        return dataclasses.replace(
            config, method=self.method, seed=seed, options=options, train=train, data=data, pixels=pixels, points=points
        )


def methods_of(config: Config, methods: Sequence[str], root: Path, subsets: Sequence[Subsets] = ()) -> list[Variant]:
    """One variant per method, and those of its `subsets` of modalities; `unimodal` stands for one per modality.

    Raises ValueError for a repeated name, and for subsets of a single modality.
    """
    from sparsefuse.methods import BASELINE

    check_once("methods", (Path(method).stem for method in methods))
    variants = []
    for method in methods:
        package_of(config).find(method)
        if method == "unimodal":
            variants += unimodal(config, root)
        elif method == BASELINE:
            variants += baselines(config, root, subsets)
        else:
            variants += [Variant(Path(method).stem, method), *subsets_of(config, method, root, subsets)]
    return variants


def package_of(config: Config) -> ModuleType:
    """The methods that there are for the task: those of clips, on pixels, or of detection."""
    kind = ".pixels" * (config.data.task in PIXEL_TASKS) + ".points" * (config.data.task in POINT_TASKS)
    return import_module("sparsefuse.methods" + kind)


def unimodal(config: Config, root: Path) -> list[Variant]:
    """Each modality alone."""
    option = "stream" if config.data.task in PIXEL_TASKS else "modality"
    return [Variant(f"unimodal ({name})", "unimodal", {option: name}) for name in modalities_of(config, root)]


def baselines(config: Config, root: Path, subsets: Sequence[Subsets]) -> list[Variant]:
    """The baseline on all modalities, on each alone, and on the `subsets`."""
    from sparsefuse.methods import BASELINE

    more = subsets_of(config, BASELINE, root, [*subsets, "each"]) if len(modalities_of(config, root)) > 1 else []
    return [variant._replace(train=UNTRAINED) for variant in (Variant(BASELINE, BASELINE), *more)]


def subsets_of(config: Config, method: str, root: Path, subsets: Sequence[Subsets]) -> list[Variant]:
    """A method on each modality alone (`sft (sound)`), and on all but one (`sft without sound`); of two modalities
    these are the same. Raises ValueError if there is but one."""
    for name in subsets:
        if name not in get_args(Subsets):
            raise ValueError(unknown("value of modalities", name, get_args(Subsets)))
    if not {"each", "leave-one-out"} & set(subsets):
        return []
    if config.data.task in POINT_TASKS:
        raise ValueError(
            f"modalities={','.join(subsets)}: a scene has its cloud and pictures of it; for fewer of these use ablate "
            "--option points.frames --values 0,1,2, or compare with the method points"
        )
    configured = {**config.options.get("all", {}), **config.options.get(method, {})}.get("modalities")
    names = configured or modalities_of(config, root)
    if len(names) < 2:
        raise ValueError(f"modalities={','.join(subsets)} needs two modalities or more; there is {', '.join(names)}")
    stem, found = Path(method).stem, {}
    if "each" in subsets:
        found |= {f"{stem} ({name})": [name] for name in names}
    if "leave-one-out" in subsets:
        for name in names:
            rest = [other for other in names if other != name]
            found[f"{stem} without {name}" if len(rest) > 1 else f"{stem} ({rest[0]})"] = rest
    return [Variant(name, method, {"modalities": read}) for name, read in found.items()]


def modalities_of(config: Config, root: Path) -> tuple[str, ...]:
    """The modalities that the configuration names, or else those of its manifest."""
    from sparsefuse.data.manifest import read_manifest
    from sparsefuse.data.pixels.table import read_rows

    data = config.data
    if data.task in PIXEL_TASKS:
        return read_rows(data, root).modalities
    listing = read_manifest(
        root / data.manifest,
        label=data.label,
        separator=data.separator,
        modalities=data.modalities,
        group=data.group,
    )
    return listing.modalities


def values_of(config: Config, option: str, values: Sequence[Any]) -> list[Variant]:
    """One variant per value of one option: the method's (`pool`), or `train.NAME`, `data.NAME`, `data.split.NAME`,
    `pixels.NAME` or `points.NAME`.

    Several options that change together are joined by +, as are their values: `unimodal_depth+fusion_depth` at `8+4`.
    Raises ValueError for an unknown option or a repeated value.
    """
    places = {
        "train": config.train, "data": config.data, "data.split": config.data.split, "pixels": config.pixels,
        "points": config.points,
    }  # fmt: skip
    available = [
        *package_of(config).option_names(config.method),
        *(f"{p}.{f.name}" for p in places for f in dataclasses.fields(places[p])),
    ]
    options = option.split("+")
    check_once("option", options)
    for name in options:
        if name not in available:
            raise ValueError(unknown(f"option of {config.method}", name, available))
    check_once("values", map(str, values))
    variants = []
    for value in values:
        each = [value] if len(options) == 1 else [_typed(part) for part in str(value).split("+")]
        if len(each) != len(options):
            raise ValueError(f"{option} takes {len(options)} values joined by +; got {value!r}")
        shown = "+".join(map(str, value)) if isinstance(value, list) else value
        name = f"{Path(config.method).stem}, {option}={shown}"
        variants.append(_changed(config, name, dict(zip(options, each, strict=True))))
    return variants


def _changed(config: Config, variant: str, values: Mapping[str, object]) -> Variant:
    """The configuration with options by their dotted names."""
    options, train, data, split, pixels, points = {}, {}, {}, {}, {}, {}
    places = {"": options, "train": train, "data": data, "data.split": split, "pixels": pixels, "points": points}
    for name, value in values.items():
        part, _, field = name.rpartition(".")
        places[part][field] = _checked(name, value) if part else value
    if split:
        data["split"] = dataclasses.replace(config.data.split, **split)
    return Variant(variant, config.method, options, train, data, pixels, points)


def _typed(text: str) -> Any:
    """A value as in YAML; also 1e-3, which YAML reads as text."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)


def _checked(name: str, value: Any) -> Any:
    """The value of a field of `Config` by its dotted name, as its type. Raises ValueError for another type."""
    from jsonargparse import ArgumentError, ArgumentParser  # pyright: ignore[reportPrivateImportUsage]

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Config, None)
    *parts, field = name.split(".")
    tree: Any = {field: value}
    for part in reversed(parts):
        tree = {part: tree}
    try:
        config: Any = parser.instantiate(parser.parse_object(tree))
    except (ArgumentError, TypeError) as error:
        raise ValueError(f"{name} cannot be {value!r}: {' '.join(str(error).split())}") from error
    for part in (*parts, field):
        config = config[part] if isinstance(config, dict) or not hasattr(config, part) else getattr(config, part)
    return config


def check_once(what: str, names: Iterable[str]) -> None:
    """Raises ValueError for a repeated name: two runs would write to one folder."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what}: {twice[0]!r} occurs twice; names must be unique (rename a file)")
