"""classifier.json: what `Classifier` was fitted to, of which the other files of a run say nothing."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from sparsefuse.config import Config, Data, Train
from sparsefuse.data.manifest import JOIN
from sparsefuse.data.targets import Targets
from sparsefuse.files.typed import plain, read, write
from sparsefuse.methods import methods
from sparsefuse.runs.arguments import OWN, check_known
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import ModelFacts

FITTED = "classifier.json"
MOST_COLUMNS = 1_000_000
"""of a matrix of labels"""


@dataclass(frozen=True)
class Fitted:
    """Arguments, data and labels of a `Classifier`. Raises ValueError for a matrix that none can have."""

    method: str
    options: Mapping[str, object]
    """its arguments by name, but for the method's"""
    columns: list[str]
    """names of the streams"""
    axes: int
    """of the array that the data were; 0 for data with names"""
    num_features: int
    """`n_features_in_`"""
    names: list[str] | None
    """`feature_names_in_`"""
    labels: dict[str, dict[str, str]]
    """column of labels -> text of a label -> type of the value (see `Targets.kinds`)"""
    matrix: int = 0
    """columns, if labels were a matrix of 0 and 1"""
    lists: bool = False
    """whether a label was a list of classes"""

    def __post_init__(self) -> None:
        if not 0 <= self.matrix <= MOST_COLUMNS:
            raise ValueError(f"matrix is {self.matrix}; expected 0 to {MOST_COLUMNS:,}")

    @property
    def targets(self) -> Targets:
        """The labels."""
        return Targets.of_kinds(self.labels, matrix=self.matrix, lists=self.lists)


def write_fitted(run: Path, fitted: Fitted) -> None:
    """Writes classifier.json, atomically; one that says the same stays as it is."""
    path = run / FITTED
    with suppress(ValueError):  # not readable: it is written anew
        if path.is_file() and read(Fitted, path) == fitted:
            return
    write(path, fitted)


def read_fitted(run: Path) -> Fitted:
    """What classifier.json of a run says; of one that a command trained, what its configuration does: then labels are
    texts. Raises FileNotFoundError for a folder that is no run, ValueError if the file is not of this run."""
    facts = RunFolder(run).read(ModelFacts)
    path = run / FITTED
    if path.is_file():
        fitted = read(Fitted, path)
        try:
            check_known(fitted.method, fitted.options.keys() - ({*OWN} - {"method"}))
        except ValueError as error:
            raise ValueError(f"{path}: options: {error}") from error
    else:
        fitted = _of_command(run, facts)
    heads = list(facts.labels.heads)
    if len(fitted.labels) != max(1, len(heads)) or (heads and heads != list(fitted.labels)):
        raise ValueError(f"{path}: labels are {', '.join(fitted.labels)}; expected {', '.join(heads) or 'one column'}")
    if fitted.matrix and not {*facts.labels.classes} <= {*map(str, range(fitted.matrix))}:
        raise ValueError(f"{path}: matrix is {fitted.matrix}; a class of model.json is no column of it")
    return fitted


def _of_command(run: Path, facts: ModelFacts) -> Fitted:
    config = RunFolder(run).get(Config) or Config()
    names = list(facts.labels.heads) or [config.data.label.split(JOIN)[0]]
    columns = list(dict.fromkeys(facts.extractors.get(name, {}).get("source", name) for name in facts.features))
    options = _arguments(config) if facts.method in methods() else {}
    return Fitted(facts.method, options, columns, 0, len(columns), columns, {name: {} for name in names})


def _arguments(config: Config) -> dict[str, object]:
    """What of a configuration is not as usual, by the names of `Classifier`'s arguments."""
    usual, found = Config(), {"seed": config.seed, "features": config.features, "recipe": config.recipe}
    options = {name: value for name, value in found.items() if value != getattr(usual, name)}
    for section, kind in (("data", Data), ("train", Train)):
        given, default = getattr(config, section), getattr(usual, section)
        names = [field.name for field in fields(kind) if field.name not in ("manifest", "label", "group")]
        options |= {name: getattr(given, name) for name in names if getattr(given, name) != getattr(default, name)}
    own = {**config.options.get("all", {}), **config.options.get(config.method, {})}
    return plain({**options, **own})
