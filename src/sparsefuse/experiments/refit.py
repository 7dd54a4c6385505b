"""Finished runs of one configuration in; a run out that learns from the clips that validated them, too."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from sparsefuse.config import Config
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Calibration, Result
from sparsefuse.training.train import train

log = logging.getLogger(__name__)


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
    """
    results, config = [run.read(Result) for run in runs], runs[0].read(Config)
    epochs = max(round(statistics.fmean(result.best_epoch for result in results)), 1)
    every = len({result.fold for result in results}) > 1
    split = replace(config.data.split, refit="all" if every else "valid")
    (split,) = split.each_fold() if every else [split]
    wanted = replace(
        config,
        data=replace(config.data, split=split),
        train=replace(config.train, epochs=epochs, best="last", best_over=1),
    )
    log.info("trained again, with the validation clips too: %d epochs -> %s", epochs, out)
    name = f"{results[0].name}, refit"
    train(wanted, out, resume=True, name=name, measured=measured, costs=costs, shown=False)
    if calibration := runs[0].get(Calibration):
        RunFolder(out).write(calibration)
    return out
