"""Scoring a finished run on pictures again: a run folder and a split or a manifest in, scores out."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sparsefuse.config import Config
from sparsefuse.data.fingerprint import difference
from sparsefuse.data.kept import Kept
from sparsefuse.data.manifest import GROUP
from sparsefuse.data.pixels.dataset import SceneFiles
from sparsefuse.data.pixels.load import load_scenes, open_scenes
from sparsefuse.data.pixels.scenes import SceneDataset
from sparsefuse.data.pixels.survey import survey, usable
from sparsefuse.data.prepare import Losses
from sparsefuse.inference.pixels.predictor import PixelPredictor, load_pixels
from sparsefuse.runs.folder import RunFolder
from sparsefuse.training.pixels.distances import distances_of
from sparsefuse.training.pixels.scoring import Truth, score

log = logging.getLogger(__name__)


class _Listed(NamedTuple):
    scenes: SceneDataset
    skipped: int


def evaluate_pixels(
    run: Path, *, split: str = "test", manifest: Path | None = None, batch_size: int = 8, device: str = "cpu"
) -> dict[str, float]:
    """Scores of the run's best model, those that training gives its test split, with the number of scenes (`scenes`)
    and of those left out (`skipped`).

    Reads the run's own data as its config.json names it, or all rows of `manifest`. Raises ValueError if the run's own
    data is not what it was when the run began, or no scene of a manifest is usable.
    """
    predictor = load_pixels(run, device=device)
    listed = _of_run(run, predictor, split) if manifest is None else _of_manifest(run, predictor, manifest)
    facts = predictor.facts
    truth = Truth(facts.task, list(facts.classes), facts.ignore)
    far = distances_of(facts.outputs, predictor.device) if facts.task == "translate" else None
    scores = score(predictor.model, listed.scenes, truth, batch_size, each=True, distances=far).scores
    return {**scores, "scenes": len(listed.scenes), "skipped": listed.skipped}


def _of_run(run: Path, predictor: PixelPredictor, split: str) -> _Listed:
    scenes = load_scenes(RunFolder(run).read(Config))
    if changed := difference(predictor.facts.clips, scenes.fingerprints):
        raise ValueError(
            f"the data of {run} is not what it was trained with ({changed}), so training scenes may be scored as "
            "new; restore the manifest and its files, or score new scenes with --manifest"
        )
    if not len(scenes.splits[split]):
        raise ValueError(f"{run} has no {split} scenes; score others with --manifest")
    return _Listed(scenes.splits[split], len(scenes.skips))


def _of_manifest(run: Path, predictor: PixelPredictor, manifest: Path) -> _Listed:
    """All rows, whatever their split."""
    facts, config = predictor.facts, RunFolder(run).read(Config)
    data = replace(config.data, manifest=str(manifest), modalities=list(facts.streams), group=GROUP)
    config = replace(config, data=data, pixels=replace(config.pixels, classes=list(facts.classes)))
    opened = open_scenes(config, Path(), divided=False)
    target = facts.target if facts.task == "translate" else None
    reader = replace(opened.reader, streams=dict(facts.streams), target=target)
    kept, losses = Kept(config.data.cache_mb), Losses(config.data.strict)
    rows = {"all": opened.rows["train"], "train": []}
    found, _ = usable(survey(rows, reader, kept), config.pixels, losses, labels=target is None)
    if not found["all"]:
        raise ValueError(f"{manifest}: no usable scene; {losses.first()}")
    if losses.skips:
        first = losses.skips[0]
        log.warning("%d scenes or streams left out; the first is %s: %s", len(losses.skips), first.id, first.reason)
    usable_rows = [one.row for one in found["all"]]
    scenes = SceneFiles(usable_rows, reader, predictor.stats, _target_stats(predictor), kept)
    return _Listed(scenes, len(losses.skips))


def _target_stats(predictor: PixelPredictor) -> tuple[Tensor, Tensor]:
    """(C,) as `Scenes.target_stats`."""
    middle, half = predictor.facts.target_scale
    outputs = predictor.facts.outputs
    return torch.full((outputs,), middle), torch.full((outputs,), half)
