"""What `--method auto` tries: a configuration and its clips in, variants out."""

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from sparsefuse.config import Config
from sparsefuse.data.clips import Clips
from sparsefuse.data.stems import made_by, stems_for
from sparsefuse.experiments.variants import Subsets, Variant, methods_of
from sparsefuse.extras import install_command
from sparsefuse.methods import BASELINE

log = logging.getLogger(__name__)

METHODS = (BASELINE, "unimodal", "late", "sft", "mbt", "concat")
"""what is tried of several modalities; `unimodal` is each alone"""
ALONE = (BASELINE, "unimodal", "sft")
"""of a single one: the others are `unimodal` then"""
SEVERAL = 3
"""Streams; of as many, those without one of them are tried, too."""
OF_ALL = ("late", "sft")
"""what is tried of all streams where the baseline does better without one"""
MANY = 3000
"""Training clips: the recipe `large` is for as many, `small` for less."""


class Helpful(NamedTuple):
    """The streams that the baseline gains by."""

    best: frozenset[str]
    single: frozenset[str]
    """the best one alone"""
    sure: bool
    """whether many groups say so, and not the validation clips alone"""


def check_budget(gmacs: float | None) -> None:
    """Raises ValueError for a budget that no method can keep."""
    if gmacs is not None and not gmacs > 0:
        raise ValueError(f"gmacs is {gmacs:g}; expected more than 0: what a clip may cost, in 10^9 multiply-adds")


def candidates_of(config: Config, clips: Clips) -> list[Variant]:
    """Every method by the configuration's recipe; if none was chosen, by the paper's and that for so many clips. Raw
    streams get the stems that `check` proposes, and small positions, unless a stem is configured; by the paper's recipe
    only long readings do. Of three streams or more, candidates that read all but one are there, too: `promising` says
    which are worth it."""
    proposed = stems_for(clips.typical, clips.features, made_by(Path(config.data.manifest).parent))
    stems = {name: one.stem for name, one in proposed.items() if one.stem}
    few = {name: stem for name, stem in stems.items() if stem["kind"] == "patch"}
    methods, found = METHODS if len(clips.features) > 1 else ALONE, []
    subsets: list[Subsets] = ["all", "leave-one-out"] if len(clips.features) >= SEVERAL else []
    if BASELINE in methods and not find_spec("sklearn"):
        log.warning("no candidate baseline: it needs scikit-learn (%s)", install_command("baseline"))
        methods = [name for name in methods if name != BASELINE]
    for variant in methods_of(config, methods, Path(), subsets):
        whole = streams_of(variant, clips) == set(clips.features)
        if not whole and variant.method not in (BASELINE, "unimodal", "sft") and BASELINE not in methods:
            continue  # too many, where no baseline says which are worth it
        if variant.method == BASELINE:  # it reads the streams as they are, and no epoch is trained
            found.append(variant)
            continue
        if config.recipe != "auto":
            found.append(_stemmed(variant, config, clips, few if config.recipe == "paper" else stems))
            continue
        recipe = "small" if len(clips.splits["train"]) < MANY else "large"
        found.append(_stemmed(variant, config, clips, few)._replace(recipe="paper"))
        found.append(_stemmed(variant, config, clips, stems)._replace(name=f"{variant.name}, {recipe}", recipe=recipe))
    return found


def _stemmed(variant: Variant, config: Config, clips: Clips, stems: Mapping[str, Mapping[str, Any]]) -> Variant:
    """With the stems of what it reads."""
    given = {**config.options.get("all", {}), **config.options.get(variant.method, {})}
    mine = {name: dict(stem) for name, stem in stems.items() if name in streams_of(variant, clips)}
    if "stem" in given or not mine:
        return variant
    small = {} if "pos_embed" in given else {"pos_embed": {"scale": 0.1}}  # else they drown out what a stem makes
    return variant._replace(options={**variant.options, **small, "stem": mine})


def promising(variants: Sequence[Variant], helpful: Helpful, clips: Clips) -> dict[str, str]:
    """Which of the candidates need not be trained, or chosen, and why: those that read other streams. One stream alone
    is tried, too."""
    every, left = set(clips.features), {}
    for one in variants:
        mine = streams_of(one, clips)
        full = one.recipe != "paper" or one.method == "sft"
        if one.method == BASELINE:
            worth = mine in (helpful.best, helpful.single) or not helpful.sure
        elif one.method == "unimodal":
            worth = mine == helpful.single and full
        else:
            worth = full and mine == (every if len(helpful.best) == 1 else helpful.best)
            worth |= mine == every and not helpful.sure and one.method in OF_ALL and one.recipe != "paper"
        if not worth:
            left[one.name] = f"the baseline is best with {', '.join(sorted(helpful.best))}"
    return left


def streams_of(variant: Variant, clips: Clips) -> frozenset[str]:
    """The streams that it reads."""
    if "modality" in variant.options:
        return frozenset({str(variant.options["modality"])})
    names = variant.options.get("modalities")
    return frozenset(names if isinstance(names, Sequence) else clips.features)
