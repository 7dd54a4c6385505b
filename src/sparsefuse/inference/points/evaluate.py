"""Scoring a finished run on clouds again: a run folder and a split or a manifest in, scores out."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sparsefuse.config import Config
from sparsefuse.data.fingerprint import difference
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import GROUP
from sparsefuse.data.points.dataset import CloudFiles
from sparsefuse.data.points.load import load_clouds, nowhere, open_clouds, survey, usable
from sparsefuse.data.points.sample import Loaded
from sparsefuse.data.points.scenes import CloudDataset
from sparsefuse.data.prepare import Losses
from sparsefuse.inference.points.predictor import PointPredictor, load_points
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training.points.scoring import score

log = logging.getLogger(__name__)


class _Listed(NamedTuple):
    scenes: CloudDataset
    skipped: int


def evaluate_points(
    run: Path, *, split: str = "test", manifest: Path | None = None, batch_size: int = 8, device: str = "cpu"
) -> dict[str, float]:
    """Scores of the run's best model, those that training gives its test split, with the number of scenes (`scenes`)
    and of those left out (`skipped`).

    Reads the run's own data as its config.json names it, or all rows of `manifest`. Raises ValueError if the run's own
    data is not what it was when the run began, or no scene of a manifest is usable.
    """
    predictor = load_points(run, device=device)
    listed = _of_run(run, predictor, split) if manifest is None else _of_manifest(run, predictor, manifest)
    facts = predictor.facts
    scores = score(predictor.model, listed.scenes, facts.classes, facts.num_points, batch_size, each=True).scores
    return {**scores, "scenes": len(listed.scenes), "skipped": listed.skipped}


def _of_run(run: Path, predictor: PointPredictor, split: str) -> _Listed:
    scenes = load_clouds(RunFolder(run).read(Config))
    if changed := difference(predictor.facts.clips, scenes.fingerprints):
        raise ValueError(
            f"the data of {run} is not what it was trained with ({changed}), so training scenes may be scored as "
            "new; restore the manifest and its files, or score new scenes with --manifest"
        )
    if predictor.reads_pictures:
        predictor.facts.check_shown({split: scenes.shown[split]}, run)
    if not len(scenes.splits[split]):
        raise ValueError(f"{run} has no {split} scenes; score others with --manifest")
    return _Listed(scenes.splits[split], len(scenes.skips))


def _of_manifest(run: Path, predictor: PointPredictor, manifest: Path) -> _Listed:
    """All rows, whatever their split."""
    facts, config = predictor.facts, RunFolder(run).read(Config)
    points = replace(config.points, classes=facts.classes, channels=facts.channels)
    config = replace(config, data=replace(config.data, manifest=str(manifest), group=GROUP), points=points)
    opened = open_clouds(config, Path(), divided=False)
    kept, losses = Kept[Loaded](config.data.cache_mb), Losses(config.data.strict)
    rows = {"all": opened.rows["train"], "train": []}
    found, _ = usable(survey(rows, opened.reader, kept), points, losses)
    if not found["all"]:
        raise ValueError(f"{manifest}: no usable scene; {losses.first()}")
    for problem in nowhere(found, points.cloud):
        log.info("%s", problem.message)
    if losses.skips:
        first = losses.skips[0]
        log.warning("%d scenes or pictures left out; the first is %s: %s", len(losses.skips), first.id, first.reason)
    scenes = CloudFiles([one.row for one in found["all"]], opened.reader, facts.classes, predictor.stats, kept)
    return _Listed(scenes, len(losses.skips))
