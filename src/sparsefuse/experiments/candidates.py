"""What `--method auto` tries: a configuration and its clips in, variants out."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparsefuse.config import Config
from sparsefuse.data.clips import Clips
from sparsefuse.data.stems import made_by, stems_for
from sparsefuse.experiments.variants import Variant, methods_of
from sparsefuse.extras import install_command
from sparsefuse.methods import BASELINE

log = logging.getLogger(__name__)

METHODS = (BASELINE, "unimodal", "late", "sft", "mbt", "concat")
"""what is tried of several modalities; `unimodal` is each alone"""
ALONE = (BASELINE, "unimodal", "sft")
"""of a single one: the others are `unimodal` then"""
MANY = 3000
"""Training clips: the recipe `large` is for as many, `small` for less."""


def check_budget(gmacs: float | None) -> None:
    """Raises ValueError for a budget that no method can keep."""
    if gmacs is not None and not gmacs > 0:
        raise ValueError(f"gmacs is {gmacs:g}; expected more than 0: what a clip may cost, in 10^9 multiply-adds")


def candidates_of(config: Config, clips: Clips) -> list[Variant]:
    """Every method by the configuration's recipe; if none was chosen, by the paper's and that for so many clips. Raw
    streams get the stems that `check` proposes, and small positions, unless a stem is configured; by the paper's recipe
    only long readings do."""
    proposed = stems_for(clips.typical, clips.features, made_by(Path(config.data.manifest).parent))
    stems = {name: one.stem for name, one in proposed.items() if one.stem}
    few = {name: stem for name, stem in stems.items() if stem["kind"] == "patch"}
    methods, found = METHODS if len(clips.features) > 1 else ALONE, []
    if BASELINE in methods and not find_spec("sklearn"):
        log.warning("no candidate baseline: it needs scikit-learn (%s)", install_command("baseline"))
        methods = [name for name in methods if name != BASELINE]
    for variant in methods_of(config, methods, Path()):
        if variant.method == BASELINE:  # it reads the streams as they are, and no epoch is trained
            found.append(variant)
            continue
        if config.recipe != "auto":
            found.append(_stemmed(variant, config, few if config.recipe == "paper" else stems))
            continue
        recipe = "small" if len(clips.splits["train"]) < MANY else "large"
        found.append(_stemmed(variant, config, few)._replace(recipe="paper"))
        found.append(_stemmed(variant, config, stems)._replace(name=f"{variant.name}, {recipe}", recipe=recipe))
    return found


def _stemmed(variant: Variant, config: Config, stems: Mapping[str, Mapping[str, Any]]) -> Variant:
    """With the stems of what it reads."""
    given = {**config.options.get("all", {}), **config.options.get(variant.method, {})}
    mine = {name: dict(stem) for name, stem in stems.items() if variant.options.get("modality", name) == name}
    if "stem" in given or not mine:
        return variant
    small = {} if "pos_embed" in given else {"pos_embed": {"scale": 0.1}}  # else they drown out what a stem makes
    return variant._replace(options={**variant.options, **small, "stem": mine})
