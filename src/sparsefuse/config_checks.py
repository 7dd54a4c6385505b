"""Checks a configuration before any file is read: ValueError for the first invalid field."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparsefuse.config import Config
from sparsefuse.errors import unknown
from sparsefuse.features import PLACE, build
from sparsefuse.methods import methods, option_names

# field: lowest value, and the one it must stay below
_BOUNDS = {
    "train.epochs": (1, None),
    "train.batch_size": (1, None),
    "train.lr": (0, None),
    "train.momentum": (0, 1),
    "train.warmup_epochs": (0, None),
    "train.weight_decay": (0, None),
    "train.clip": (0, None),
    "train.patience": (0, None),
    "train.ema": (0, 1),
    "train.mixup_alpha": (0, None),
    "train.mixup_warmup": (0, None),
    "train.label_smoothing": (0, 1),
    "train.replay": (0, None),
    "train.workers": (0, None),
    "data.modality_dropout": (0, 1),
    "data.token_dropout": (0, 1),
    "data.noise": (0, None),
    "data.crop": (0, 1),
    "data.max_length": (0, None),
    "data.windows": (1, None),
    "data.cache_mb": (0, None),
}


def check_config(config: Config) -> None:
    """Raises ValueError for a missing manifest, a number out of its range, or an unknown name."""
    if not config.data.manifest:
        raise ValueError("no manifest given: --data.manifest FILE, or a YAML with data: {manifest: ...}")
    for field, (low, above) in _BOUNDS.items():
        part, name = field.split(".")
        value = getattr(getattr(config, part), name)
        if not (value >= low and (above is None or value < above)):
            raise ValueError(f"{field} is {value}; expected {low} or more{f', below {above}' if above else ''}")
    if config.train.warmup_epochs and config.train.warmup_epochs >= config.train.epochs:
        raise ValueError(
            f"train.warmup_epochs is {config.train.warmup_epochs} of {config.train.epochs} epochs: the rate would not "
            "be reached; give fewer"
        )
    if not 0 < config.data.split.train_share <= 1:
        raise ValueError(f"data.split.train_share is {config.data.split.train_share}; expected more than 0, 1 at most")
    for modality, length in config.data.resample.items():
        if length < 1:
            raise ValueError(f"data.resample: {modality!r} is {length}; expected 1 or more tokens")
    if not config.data.separator or (config.data.separator != "|" and config.data.task not in ("auto", "multilabel")):
        raise ValueError(
            f"data.separator is {config.data.separator!r}, data.task {config.data.task}; expected a text, and several "
            "classes: data.task=multilabel or auto"
        )
    if config.data.windows > 1 and not config.data.max_length:
        raise ValueError(f"data.windows is {config.data.windows}, but data.max_length, the length of one, is 0; set it")
    for modality, bands in config.data.spec_augment.items():
        _check_low(f"data.spec_augment: {modality!r}", vars(bands), 0)
    for modality, picture in config.data.pictures.items():
        fields = dict(vars(picture))
        _check_low(f"data.pictures: {modality!r}", {key: fields.pop(key) for key in ("height", "width", "channels")}, 1)
        _check_low(f"data.pictures: {modality!r}", fields, 0)
        if picture.crop >= 1 or picture.flip > 1 or picture.contrast > 1:
            raise ValueError(f"data.pictures: {modality!r} is {picture}; expected crop < 1, flip and contrast <= 1")
    _check_options(config)
    for modality, spec in config.features.items():
        _check_features(modality, spec)


def _check_low(what: str, fields: dict[str, float], low: int) -> None:
    for name, value in fields.items():
        if not value >= low:
            raise ValueError(f"{what} has {name} {value}; expected {low} or more")


def check_one_test_split(config: Config) -> None:
    """Raises ValueError when folds are listed and none of them is chosen: one run has one test split."""
    split = config.data.split
    if split.folds and not split.test_groups:
        first = ",".join(split.folds[0])
        raise ValueError(
            f"data.split.folds lists {len(split.folds)} test splits and a run has one; choose it with "
            f"--data.split.test_groups {first}, or run them all with sparsefuse compare"
        )


def _check_options(config: Config) -> None:
    """Names under `options`: methods, `all`, .py files; below them the options of that method, or of any."""
    every = {method: option_names(method) for method in dict.fromkeys([config.method, *methods()])}
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


def _check_features(modality: str, spec: Mapping[str, Any]) -> None:
    """An extractor that comes with sparsefuse, and its options; a user's file need not be here to train."""
    if "extractor" not in spec:
        raise ValueError(f"features: {modality!r} names no extractor; got {', '.join(spec) or 'nothing'}")
    options = {name: value for name, value in spec.items() if name not in PLACE}
    if Path(spec["extractor"]).suffix != ".py":
        build(spec["extractor"], options)
