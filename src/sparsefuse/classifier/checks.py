"""The arguments of a `Classifier` in, an error out for those that name nothing or do not go together."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from sparsefuse.classifier.arguments import AUTO
from sparsefuse.config import AnyTask, Task, Usual
from sparsefuse.errors import nearest
from sparsefuse.features import check_specs
from sparsefuse.files.rows import SUFFIXES
from sparsefuse.methods import BASELINE, methods, option_names
from sparsefuse.options import check_kind
from sparsefuse.runs.arguments import SETTINGS, check_known
from sparsefuse.shown import shown


def check_names(method: object, given: Collection[str]) -> None:
    """Raises ValueError, with the nearest match, for an argument that is no setting and no method's option, and for
    data in the place of the method."""
    check_is_no_data(method)
    check_known(str(method), given)


def check_method(method: str, given: Mapping[str, Any], *, gmacs: float | None, time_limit: str | float | None) -> None:
    """Raises ValueError for a method that is not there, or that lacks an option, for tasks of scenes, and for
    arguments of another kind that are used before the configuration is made."""
    if (task := given.get("task")) in get_args(AnyTask) and task not in get_args(Task):
        raise ValueError(
            f"task={task!r} is not for a Classifier, which predicts labels of whole clips; give its manifest to "
            "sparsefuse.train (docs/pixels.md, docs/detect.md)"
        )
    check_kind(Sequence[str] | None, given.get("modalities"), "modalities")
    check_kind(float | None, gmacs, "gmacs")
    if method == AUTO:
        from sparsefuse.experiments.candidates import check_budget

        check_budget(gmacs)
    if isinstance(features := given.get("features"), Mapping):
        check_specs(features)
    elif features:
        check_kind(Usual, features, "features")
    options = [name for name in given if name not in SETTINGS]
    available = {name for one in _methods(method) for name in option_names(one)}
    for name in options:
        if name not in available:
            raise ValueError(nearest(f"option of {method}", name, available | SETTINGS.keys()))
    for name, value in (("gmacs", gmacs), ("time_limit", time_limit)):
        if value is not None and method != AUTO:
            raise ValueError(f"{name}={value} chooses among methods; it needs method={AUTO!r}, not {method!r}")


def check_is_no_data(method: object) -> None:
    """Raises TypeError or ValueError, saying where they go, for data in the place of the method's name."""
    if not isinstance(method, str | Path):
        raise TypeError(
            f"method is {type(method).__name__}; expected the name of a method, such as 'sft' or 'auto'; data go to "
            "fit: Classifier().fit(X, y)"
        )
    name = str(method)
    if name in (AUTO, BASELINE, *methods()) or name.endswith(".py"):
        return
    if (there := Path(name).exists()) or Path(name).suffix.lower() in SUFFIXES:
        what = "a folder" if Path(name).is_dir() else "a file" if there else "the name of a table"
        raise ValueError(
            f"method is {shown(name)!r}, {what}; expected the name of a method, such as 'sft' or 'auto'; data go to "
            f"fit: Classifier().fit({shown(name)!r})"
        )


def _methods(method: str) -> list[str]:
    from sparsefuse.experiments.candidates import METHODS

    return list(METHODS) if method == AUTO else [str(method)]
