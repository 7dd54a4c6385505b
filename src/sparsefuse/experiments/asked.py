"""asked.json: what a search with `--method auto` was asked for, so that one that goes on is asked for the same."""

import os
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.files.located import located, relative
from sparsefuse.files.typed import read, write
from sparsefuse.runs.folder import check_same_settings, with_paths

NAME = "asked.json"


@dataclass(frozen=True)
class Asked:
    """What every candidate is made of."""

    config: Config
    gmacs: float | None = None
    """the budget of a clip"""


def write_asked(out: Path, config: Config, gmacs: float | None) -> None:
    """Writes it into the folder of the search."""
    write(out / NAME, Asked(with_paths(config, partial(relative, folder=out)), gmacs))


def check_asked(out: Path, config: Config, gmacs: float | None) -> None:
    """Raises ValueError, before data are read or extracted, if the search in `out` was asked for something else, but
    for its manifest and longest stream, which come of the data. Of one that an older version began, nothing is known.
    """
    if not (out / NAME).is_file():
        return
    asked = read(Asked, out / NAME)
    began = with_paths(asked.config, partial(located, folder=out))
    data = replace(config.data, manifest=began.data.manifest, max_length=began.data.max_length)
    before, now = (asdict(with_paths(each, os.path.abspath)) for each in (began, replace(config, data=data)))
    # the key `recipe` is free, where what it sets stands under its own name; a search tries several of its own
    before = {"the recipe": began.recipe, "gmacs": asked.gmacs, **before}
    check_same_settings(before, {"the recipe": config.recipe, "gmacs": gmacs, **now}, out)
