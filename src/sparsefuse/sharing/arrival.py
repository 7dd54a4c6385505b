"""Checks a downloaded run before it is used; raises ValueError for anything unsafe or inconsistent.

Nothing in it is executed, and nothing is allocated before its size is known: model.json is checked against its schema,
and the model against the header of the weights (see `runs.weights`).
"""

import os
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.features import PLACE, resolve
from sparsefuse.files import checkpoint
from sparsefuse.runs.fitted import FITTED, read_fitted
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.pixel_facts import PixelFacts
from sparsefuse.runs.pixel_weights import load_pixel_model
from sparsefuse.runs.records import Calibration, Environment, ModelFacts, Result
from sparsefuse.runs.weights import load_model
from sparsefuse.sharing.facts import facts_of
from sparsefuse.sharing.parcel import CARD
from sparsefuse.sharing.schema import check_model, check_pixel_model
from sparsefuse.training import replay

AUTO = "auto"
"""what `Classifier` calls the choice among methods"""


def check_run(folder: Path, names: list[str]) -> None:
    """Raises ValueError, saying what, where, got and expected, if `folder` holds no run that can be used safely.

    `names` are the files to check, which must be plain files of allowed size (see `parcel`).
    """
    run = RunFolder(folder)
    for name in names:
        if name.endswith(".safetensors"):
            checkpoint.shapes(folder / name)
        elif name == CARD:
            _check_text(folder / name)
    try:
        facts = facts_of(run)
        for kind in (Config, Environment, Calibration, Result):
            run.get(kind)
        run.epochs()
        if isinstance(facts, PixelFacts):
            check_pixel_model(facts)
            load_pixel_model(run, facts)
        else:
            _check_clips(run, facts)
        if FITTED in names:
            _check_fitted(run)
    except ValueError as error:
        raise ValueError(str(error).replace(f"{folder}{os.sep}", "")) from error  # the temporary folder does not help


def _check_clips(run: RunFolder, facts: ModelFacts) -> None:
    check_model(facts)
    for name, spec in facts.extractors.items():
        options = {key: value for key, value in spec.items() if key not in PLACE}
        try:
            resolve(spec["extractor"], options)
        except ValueError as error:
            raise ValueError(f"model.json: extract.features.{name}: {error}") from error
    replay.load(run, load_model(run, facts).model)


def _check_fitted(run: RunFolder) -> None:
    """Labels must be of plain types, and the method the model's or auto: to fit again would run the code of another."""
    fitted, method = read_fitted(run.path), run.read(ModelFacts).method
    _ = fitted.targets
    if fitted.method not in (AUTO, method):
        raise ValueError(f"{FITTED}: method is {fitted.method!r}; expected {method!r}, as in model.json, or {AUTO!r}")


def _check_text(path: Path) -> None:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text (byte {error.start})") from error
