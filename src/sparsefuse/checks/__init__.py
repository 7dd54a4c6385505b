"""Checks a configuration before any file is read, and all that it names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsefuse.checks.pixels import check_pixels
from sparsefuse.checks.points import check_points
from sparsefuse.config import Config, ConfigLike, check_ranges
from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.config.recipe import SETTINGS
from sparsefuse.errors import unknown
from sparsefuse.features import PLACE, build, check_specs
from sparsefuse.files.typed import plain
from sparsefuse.methods import BASELINE, methods, option_names

if TYPE_CHECKING:
    from sparsefuse.data.check import Report


def check(config: ConfigLike = None, *, root: str | Path = "", jobs: int = 0, **fields: object) -> "Report":
    """Reads all the data of a configuration: `config` and `fields` as `Config.load` takes them, such as "clips.csv".

    The report has `problems`, each with its severity (error, warning, note), sample ids and a message, `counts` of
    them, tokens and features per modality, and samples per split and class. `root`: folder that the manifest's path is
    relative to. `jobs`: processes that probe media; 0 = one per core. Raises FileNotFoundError without the manifest,
    ValueError for an invalid field of the configuration; all else is a problem in the report.
    """
    from sparsefuse.data.check import check as check_data
    from sparsefuse.data.check.pixels import check_pictures
    from sparsefuse.data.check.points import check_clouds
    from sparsefuse.features._tables import table_readers

    config = Config.load(config, **fields)
    check_config(config)
    if config.data.task in PIXEL_TASKS:
        return check_pictures(config, Path(root))
    if config.data.task in POINT_TASKS:
        return check_clouds(config, Path(root))
    return check_data(config.data, Path(root), jobs=jobs, tables=table_readers(_specs(config)))


def check_config(config: Config) -> None:
    """Raises ValueError for a missing manifest, a number out of its range, or an unknown name."""
    if not config.data.manifest:
        raise ValueError("no manifest given: --data.manifest FILE, or a YAML with data: {manifest: ...}")
    check_ranges(config)
    check_pixels(config)
    check_points(config)
    if config.train.warmup_epochs and config.train.warmup_epochs >= config.train.epochs:
        raise ValueError(
            f"train.warmup_epochs is {config.train.warmup_epochs} of {config.train.epochs} epochs: training "
            "would end before warm-up does; give fewer"
        )
    if config.train.ema and config.train.swa:
        raise ValueError(
            f"train.ema is {config.train.ema:g} and train.swa {config.train.swa:g}: only one average of the weights "
            "can be kept; set one of them to 0"
        )
    ours, usual = plain(config), plain(Config())
    settings = [(part, name) for part, names in SETTINGS[config.recipe].items() for name in names]
    if settings and all(ours[part][name] == usual[part][name] for part, name in settings):
        raise ValueError(
            f"recipe is {config.recipe}, but it changes nothing, as Config(...) sets every field itself; "
            f"use Config.load(recipe={config.recipe!r}, ...)"
        )
    if not config.data.separator or (config.data.separator != "|" and config.data.task not in ("auto", "multilabel")):
        raise ValueError(
            f"data.separator is {config.data.separator!r}, data.task {config.data.task}; expected a text, and several "
            "classes: data.task=multilabel or auto"
        )
    if config.data.windows > 1 and not config.data.max_length:
        raise ValueError(f"data.windows is {config.data.windows}, but data.max_length, the length of one, is 0; set it")
    split = config.data.split
    if split.k and (split.folds or split.test_groups or split.by == "given"):
        raise ValueError(f"data.split.k is {split.k}, so folds are drawn; leave out folds, test_groups and by=given")
    if config.data.task not in (*PIXEL_TASKS, *POINT_TASKS):
        _check_options(config)
    for modality, spec in _specs(config).items():
        _check_features(modality, spec)
    if config.distill.unlabelled and not config.distill.teachers:
        raise ValueError("distill.unlabelled needs teachers to label its clips: set distill.teachers")


def check_one_test_split(config: Config) -> None:
    """Raises ValueError when there are folds and none of them is chosen: one run has one test split."""
    split = config.data.split
    if split.k and split.fold is None:
        raise ValueError(
            f"data.split.k is {split.k}: that many test splits, and a run has one; choose it with --data.split.fold 0, "
            "or run them all with sparsefuse compare"
        )
    if split.folds and not split.test_groups:
        first = ",".join(split.folds[0])
        raise ValueError(
            f"data.split.folds lists {len(split.folds)} test splits and a run has one; choose it with "
            f"--data.split.test_groups {first}, or run them all with sparsefuse compare"
        )


def _check_options(config: Config) -> None:
    """Names under `options`: methods, `all`, .py files; below them the options of that method, or of any."""
    every = {method: option_names(method) for method in dict.fromkeys([config.method, *methods(), BASELINE])}
    anyone = {name for names in every.values() for name in names}
    for method, options in config.options.items():
        if method == "all":
            _check_names("option of all methods:", options, anyone)
        elif method in every:
            _check_names(f"option of {method}", options, every[method])
        elif not method.endswith(".py"):
            raise ValueError(f"options: {unknown('method', method, ['all', *every])}")


def _check_names(kind: str, names: Iterable[str], available: Iterable[str]) -> None:
    for name in names:
        if name not in available:
            raise ValueError(unknown(kind, name, available))


def _specs(config: Config) -> dict[str, dict[str, Any]]:
    if isinstance(config.features, str):
        return {}
    check_specs(config.features)
    return config.features


def _check_features(modality: str, spec: Mapping[str, Any]) -> None:
    """An extractor that comes with sparsefuse, and its options; a user's file need not be here to train."""
    if "extractor" not in spec:
        raise ValueError(f"features: {modality!r} names no extractor; got {', '.join(spec) or 'nothing'}")
    options = {name: value for name, value in spec.items() if name not in PLACE}
    if Path(spec["extractor"]).suffix != ".py":
        build(spec["extractor"], options)
