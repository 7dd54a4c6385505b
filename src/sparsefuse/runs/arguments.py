"""Names of the arguments of `Classifier`, and the sections of a configuration that they stand in."""

import dataclasses

from sparsefuse.config import Data, Train

OWN = ("method", "gmacs", "time_limit", "verbose")
"""those that are no part of a configuration"""
SETTINGS = {"seed": "", "features": "", "recipe": ""}
SETTINGS |= {
    field.name: "data" for field in dataclasses.fields(Data) if field.name not in ("manifest", "label", "group")
}
SETTINGS |= {field.name: "train" for field in dataclasses.fields(Train)}
"""argument -> the section of the configuration that has it"""
