"""Checks what tasks on scenes have in common: settings that are of clips alone, and names of methods and options."""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from sparsefuse.config import Config
from sparsefuse.errors import unknown


def check_foreign(config: Config, instead: Mapping[str, str], what: str) -> None:
    """Raises ValueError for a setting of clips that is not as usual. `instead`: setting -> what to set, or why there is
    none; `what` the task is on."""
    usual = Config()
    for place, why in instead.items():
        if _at(config, place) != _at(usual, place):
            by = "" if config.recipe in ("auto", "paper") else f" (recipe {config.recipe} may have set it)"
            raise ValueError(
                f"{place} is {_at(config, place)!s:.60}{by}, which has no meaning for data.task="
                f"{config.data.task}: {why}"
            )
    alpha = config.train.mixup_alpha
    if alpha not in (0, usual.train.mixup_alpha):
        raise ValueError(f"train.mixup_alpha is {alpha:g}, but there is no mixup of {what}; leave it out")


def check_methods(config: Config, package: ModuleType, kind: str) -> None:
    """Raises ValueError unless the method, and names under `options`, are those of the package, or `all`, and options
    those of their method. `kind`: what tells them from others, such as "on pixels"."""
    every = {method: package.option_names(method) for method in package.methods()}
    if config.method not in every:
        raise ValueError(f"data.task is {config.data.task}: {unknown(f'method {kind}', config.method, every)}")
    for method, options in config.options.items():
        if method == "all":
            _check_names(f"option of all methods {kind}:", options, {n for names in every.values() for n in names})
        elif method in every:
            _check_names(f"option of {method} {kind}", options, every[method])
        else:
            raise ValueError(f"options: {unknown(f'method {kind}', method, ['all', *every])}")


def check_size(section: str, height: int, width: int) -> None:
    """Raises ValueError for rows and columns that pictures cannot be resized to."""
    for name, value in (("height", height), ("width", width)):
        if not 0 <= value <= 100_000:
            raise ValueError(f"{section}.{name} is {value}; expected pixels, at most 100,000")
    if bool(height) != bool(width):
        raise ValueError(
            f"{section}.height is {height} and {section}.width {width}; set both, or neither (0 = as they are)"
        )


def check_classes(section: str, classes: list[str]) -> None:
    """Raises ValueError for a class that is named twice, or has no name."""
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice or not all(classes):
        raise ValueError(
            f"{section}.classes names {twice[0]!r:.60} twice" if twice else f"{section}.classes has an empty name"
        )


def _at(config: Config, place: str) -> Any:
    value: Any = config
    for name in place.split("."):
        value = getattr(value, name)
    return value


def _check_names(kind: str, names: Iterable[str], available: Iterable[str]) -> None:
    for name in names:
        if name not in available:
            raise ValueError(unknown(kind, name, available))
