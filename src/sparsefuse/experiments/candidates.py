"""What `--method auto` tries: a configuration in, variants of it out."""

from pathlib import Path

from sparsefuse.config import Config
from sparsefuse.experiments.variants import Variant, methods_of, modalities_of

METHODS = ("unimodal", "late", "sft", "mbt", "concat")
"""what is tried of several modalities; `unimodal` is each alone"""
ALONE = ("unimodal", "sft")
"""of a single one: the others are `unimodal` then"""


def candidates_of(config: Config) -> list[Variant]:
    """Those for the configuration's data."""
    several = len(modalities_of(config, Path())) > 1
    return methods_of(config, METHODS if several else ALONE, Path())
