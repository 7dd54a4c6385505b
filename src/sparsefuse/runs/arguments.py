"""Names of the arguments of `Classifier`, and the sections of a configuration that they stand in."""

import dataclasses
from collections.abc import Collection

from sparsefuse.config import Data, Train
from sparsefuse.errors import nearest
from sparsefuse.methods import methods, option_names

OWN = ("method", "gmacs", "time_limit", "verbose")
"""those that are no part of a configuration"""
SETTINGS = {"seed": "", "features": "", "recipe": ""}
SETTINGS |= {
    field.name: "data" for field in dataclasses.fields(Data) if field.name not in ("manifest", "label", "group")
}
SETTINGS |= {field.name: "train" for field in dataclasses.fields(Train)}
"""argument -> the section of the configuration that has it"""


def check_known(method: str, given: Collection[str]) -> None:
    """Raises ValueError, with the nearest match, for an argument that is no setting and no method's option; those of a
    method in a file are not known."""
    options = [name for name in given if name not in SETTINGS]
    if options and not method.endswith(".py"):
        known = {name for one in methods() for name in option_names(one)} | SETTINGS.keys()
        for name in options:
            if name not in known:
                raise ValueError(nearest("argument", name, known))
