"""Finished runs of one configuration in; a run out that learns from the clips that validated them, too."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from sparsefuse.config import Config
from sparsefuse.experiments.ensemble_selection import members_in
from sparsefuse.inference.ensemble import ensemble
from sparsefuse.methods import BASELINE
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, ModelFacts, Result
from sparsefuse.training.train import train

log = logging.getLogger(__name__)


def refit_chosen(out: Path, to: Path) -> Path:
    """`refit` of what a search chose in `out`; of an ensemble, of each of its members, in a folder beside
    `to`: its clips are divided otherwise, so no report compares them with those of the search. One that is there stays;
    ValueError if it is of something else."""
    members, before, last = members_in(out), RunFolder(out), RunFolder(to)
    if not members:
        return refit([before], to)
    again = [
        refit([member], to.with_name(f"{to.name}-members") / member.path.name, measured=False) for member in members
    ]
    name = f"{before.read(Result).name}, refit"
    if last.finished:
        if (there := last.read(Result).name) != name:
            raise ValueError(
                f"{to} is {there}, and the one chosen now is {name}; remove it, or search in another folder"
            )
        return to
    ensemble(again, to, name=name)
    if calibration := before.get(Calibration):
        last.write(calibration)
    return to


def refit(
    runs: Sequence[RunFolder],
    out: Path,
    *,
    measured: bool = True,
    costs: Mapping[str, float | str] = MappingProxyType({}),
) -> Path:
    """Trains the configuration of the runs, which differ in seed or fold, in `out`, with the seed of the first.

    Training and validation clips are trained on, for as many epochs as those of the best weights, in the mean; with
    several folds, the clips that test them too. Its temperature is that of the first run, which has validated clips.
    Raises ValueError if `out` holds a run of another configuration or other clips.
    """
    results, config = [run.read(Result) for run in runs], runs[0].read(Config)
    epochs = max(round(statistics.fmean(result.best_epoch for result in results)), 1)
    every = len({result.fold for result in results}) > 1
    split = replace(config.data.split, refit="all" if every else "valid")
    (split,) = split.each_fold() if every else [split]
    if config.method == BASELINE:  # without validation clips it would not know what was better on them
        found = runs[0].read(ModelFacts).options
        kept = {name: found[name] for name in ("kind", "strength") if name in found}
        options = {**config.options, BASELINE: {**config.options.get(BASELINE, {}), **kept}}
        config = replace(config, options=options)
    wanted = replace(
        config,
        data=replace(config.data, split=split),
        train=replace(config.train, epochs=epochs, best="last", best_over=1),
    )
    if not RunFolder(out).tested:
        log.info("trained again, with the validation clips too: %d epochs -> %s", epochs, out)
    name = f"{results[0].name}, refit"
    train(wanted, out, resume=True, name=name, measured=measured, costs=costs, shown=False)
    if calibration := runs[0].get(Calibration):
        RunFolder(out).write(calibration)
    return out
